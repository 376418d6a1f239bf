"""What is RabbitMQ's own: exchanges in destination names, header types of AMQP."""

from __future__ import annotations

import secrets

import amqp
import pytest
from kombu import Connection

from handrail_harness.forest import Forest
from handrail_harness.spans import Span
from handrail_propagation import conventions as names
from handrail_propagation import tracer

from .brokers import RabbitMQ
from .conftest import Scene, SceneOver, over

pytestmark = pytest.mark.integration


def messages(forest: Forest) -> list[Span]:
    """The `send` and `process` spans of one whole tree."""
    assert len({span.trace_id for span in forest.spans}) == 1
    assert not forest.orphans
    found = [span for span in forest.spans if span.kind in ("producer", "consumer")]
    assert found
    return found


def test_a_topic_exchange_is_in_the_name(scene_over: SceneOver, rabbitmq_url: str, redis_url: str) -> None:
    """Through an exchange, both spans name it with the routing key, as the conventions for RabbitMQ have it."""
    exchange = f"orders-{secrets.token_hex(4)}"
    settings = {
        "task_default_exchange": exchange,
        "task_default_exchange_type": "topic",
        "task_default_routing_key": "orders.created",
    }
    scene = scene_over(RabbitMQ(rabbitmq_url, backend=redis_url, settings=settings))
    scene.worker("solo")
    with tracer().start_as_current_span("root"):
        scene.send("add", 1, 2)
    spans = messages(scene.forest(processed=1))
    assert {span.attributes[names.MESSAGING_DESTINATION_NAME] for span in spans} == {
        f"{exchange}:orders.created"
    }
    assert {span.attributes[names.MESSAGING_SYSTEM] for span in spans} == {"rabbitmq"}


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
