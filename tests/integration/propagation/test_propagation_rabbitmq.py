"""What is RabbitMQ's own: exchanges in destination names, header types of AMQP."""

from __future__ import annotations

import secrets
from collections import Counter

import amqp
import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue, binding

from handrail_harness.forest import Forest
from handrail_harness.spans import Span
from handrail_propagation import conventions as names
from handrail_propagation import tracer
from handrail_propagation.integrations import kombu

from .brokers import RabbitMQ
from .conftest import Scene, SceneOver, consumers, over

pytestmark = pytest.mark.integration


def messages(forest: Forest) -> list[Span]:
    """The `send` and `process` spans of one whole tree."""
    assert len({span.trace_id for span in forest.spans}) == 1
    assert not forest.orphans
    found = [span for span in forest.spans if span.kind in ("producer", "consumer")]
    assert found
    return found


def test_a_topic_exchange_is_in_the_name(scene_over: SceneOver, rabbitmq_url: str, redis_url: str) -> None:
    """Both spans name exchange and routing key, and the consumer's its queue: a pool child's and the main process's."""
    exchange = f"orders-{secrets.token_hex(4)}"
    settings = {
        "task_default_exchange": exchange,
        "task_default_exchange_type": "topic",
        "task_default_routing_key": "orders.created",
    }
    scene = scene_over(RabbitMQ(rabbitmq_url, backend=redis_url, settings=settings))
    scene.worker()
    with tracer().start_as_current_span("root"):
        scene.send("add", 1, 2)
        scene.app.send_task("nobody.knows.it")
    spans = messages(scene.forest(processed=2))
    sent, taken = f"{exchange}:orders.created", f"{exchange}:orders.created:{scene.queue}"
    assert Counter((span.name, span.attributes[names.MESSAGING_DESTINATION_NAME]) for span in spans) == {
        (f"send {sent}", sent): 2,
        (f"process {taken}", taken): 2,
    }
    assert {span.attributes[names.MESSAGING_SYSTEM] for span in spans} == {"rabbitmq"}


def test_names_of_exchanges_without_celery(scene_over: SceneOver, rabbitmq_url: str, redis_url: str) -> None:
    """kombu names topic, fanout and default exchanges in the same way; what is empty or there twice is left out."""
    scene = scene_over(RabbitMQ(rabbitmq_url, backend=redis_url))
    topic, fanout, queue, other = (f"named-{secrets.token_hex(4)}" for _ in range(4))
    expected = Counter(
        {
            (f"{topic}:a.key", f"{topic}:a.key:{queue}"): 1,  # a queue bound by a pattern
            (f"{topic}:{queue}", f"{topic}:{queue}"): 1,  # a queue that is called like the key
            (fanout, f"{fanout}:{other}"): 1,  # an exchange that looks at no key
            (other, other): 1,  # the default exchange, whose key is the queue
        }
    )
    with Connection(rabbitmq_url) as connection:
        keys = [binding(Exchange(topic, "topic"), routing_key=key) for key in ("a.*", queue)]
        queues = [
            Queue(queue, keys, auto_delete=True),
            Queue(other, [binding(Exchange(fanout, "fanout"))], auto_delete=True),
        ]
        left = list(range(expected.total()))
        callback = kombu.traced(lambda body, message: left.pop(), acknowledge=True)
        with Consumer(connection, queues, callbacks=[callback]):
            producer = Producer(connection)
            kombu.publish(producer, {}, exchange=topic, routing_key="a.key")
            kombu.publish(producer, {}, exchange=topic, routing_key=queue)
            kombu.publish(producer, {}, exchange=Exchange(fanout, "fanout"))
            kombu.publish(producer, {}, routing_key=other)
            while left:
                connection.drain_events(timeout=60)
    spans = scene.spans(processed=expected.total())
    sends = {span.span_id: span for span in spans if span.kind == "producer"}
    found = [
        tuple(
            str(span.attributes[names.MESSAGING_DESTINATION_NAME])
            for span in (sends[received.parent_span_id], received)
        )
        for received in consumers(spans)
    ]
    assert Counter(found) == expected


@over("rabbitmq")
def test_header_types_of_amqp(scene: Scene) -> None:
    """A byte array is text; whatever else AMQP can put into a header is no trace context, and the task runs."""
    trace_id = secrets.token_hex(16)
    valid = f"00-{trace_id}-b7ad6b7169203331-01"
    values = [valid.encode(), b"\xff\xfe\x80", {"a": {"b": [1, None]}}, [1.5, True], 7, None, "x" * 30_000]
    scene.send("echo_headers")
    with Connection(scene.broker.url) as connection, connection.channel() as channel:
        message = channel.message_to_python(channel.basic_get(scene.queue))
        for value in values:
            headers = message.headers | {"traceparent": value, "baggage": value, "tracestate": value}
            properties = message.properties | {"application_headers": headers}
            channel.basic_publish(
                amqp.Message(message.body, **properties), exchange="", routing_key=scene.queue
            )
        message.ack()
    worker = scene.worker("solo")
    spans = [span for span in scene.spans(processed=len(values)) if span.kind == "consumer"]
    assert [span.trace_id == trace_id for span in spans].count(True) == 1
    assert {span.attributes[names.CELERY_STATE] for span in spans} == {"SUCCESS"}
    assert "without a span" not in worker.log()
