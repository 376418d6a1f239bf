"""Producers and consumers that are not Celery: Redis Streams and kombu join the tree, redelivered ones, too."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from kombu import Connection, Consumer, Producer, Queue
from opentelemetry import trace

from handrail_harness.rules import check
from handrail_harness.sources.memory import MemorySource
from handrail_harness.spans import Span
from handrail_propagation import conventions as names
from handrail_propagation import instrument, run_context, tracer
from handrail_propagation.integrations import kombu, redis_streams

from ...support.waiting import wait_for
from .conftest import Scene, consumers, over

PAGE = Path(__file__).resolve().parents[3] / "docs" / "beyond-celery.md"

pytestmark = pytest.mark.integration


@contextmanager
def connected(scene: Scene) -> Iterator[Connection]:
    """A kombu connection of one's own to the scene's broker."""
    with Connection(scene.broker.url) as connection:
        yield connection


def drain(connection: Connection, queue: str, callback: Any, *, deliveries: int = 1) -> None:
    """Consume from a queue until the callback has been called so many times."""
    calls = []

    def counted(body: Any, message: Any) -> None:
        calls.append(1)
        callback(body, message)

    with Consumer(connection, [Queue(queue)], callbacks=[counted], accept=["json"], prefetch_count=1):
        while len(calls) < deliveries:
            connection.drain_events(timeout=60)


def attempts_of(scene: Scene, number: int) -> list[Span]:
    """The deliveries of one message, earliest first, after checking that they hang under its only send."""
    spans = scene.spans(processed=number)
    (send,) = [span for span in spans if span.kind == "producer"]
    found = sorted(consumers(spans), key=lambda span: span.start_unix_nano)
    assert {span.parent_span_id for span in found} == {send.span_id}
    assert {span.attributes[names.MESSAGING_MESSAGE_ID] for span in found} == {
        send.attributes[names.MESSAGING_MESSAGE_ID]
    }
    return found


def retry_of(span: Span) -> list[str]:
    """Ids of the spans that one is linked to as the attempt before it."""
    return [link.span_id for link in span.links if link.attributes[names.LINK_TYPE] == names.LINK_RETRY_OF]


@over("redis", "rabbitmq")
def test_one_tree_into_celery_and_out_of_it(scene: Scene, redis_url: str) -> None:
    """kombu → Celery → a Redis stream and a kombu consumer, and from each back into Celery: one unified tree."""
    stream, plain = (f"beyond-{secrets.token_hex(4)}" for _ in range(2))
    worker = scene.worker()
    task_id = str(uuid.uuid4())
    body = ((redis_url, stream, plain), {}, {})
    with connected(scene) as connection:
        with run_context("run-beyond"), tracer().start_as_current_span("root"):
            kombu.publish(
                Producer(connection),
                body,
                routing_key=scene.queue,
                headers={"task": "propagation_app.hands_out", "id": task_id},
                serializer="json",
            )

        def back(body: Any, message: Any) -> None:
            assert body[0] == [17]
            scene.send("add", 1, 2)

        drain(connection, plain, kombu.traced(back, acknowledge=True))
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        reader = redis_streams.Consumer(client, stream, "shipping", "ship-1")
        (delivery,) = reader.read(block=10)
        with delivery.process():
            assert delivery.fields == {"order": "17"}
            scene.send("add", 3, 4)
        assert client.xpending(stream, "shipping")["pending"] == 0
    spans = scene.spans(processed=5)
    (trace_id,) = {span.trace_id for span in spans}
    report = check(MemorySource(spans), trace_id)
    assert report.unified, report.breaches
    assert len([span for span in spans if span.kind == "producer"]) == 5
    assert {span.attributes[names.RUN_ID] for span in spans} == {"run-beyond"}
    by_id = {span.attributes[names.MESSAGING_MESSAGE_ID]: span for span in consumers(spans)}
    assert by_id[task_id].attributes[names.MESSAGE_QUEUE_WAIT] >= 0
    assert by_id[delivery.id].attributes[names.MESSAGING_SYSTEM] == "redis"
    assert by_id[delivery.id].attributes[names.MESSAGE_ATTEMPT] == 1
    others = [span for span in consumers(spans) if span.attributes[names.MESSAGING_MESSAGE_ID] != delivery.id]
    assert {span.attributes[names.MESSAGING_SYSTEM] for span in others} == {scene.broker.system}
    assert "without" not in worker.log()


@pytest.mark.parametrize("options", [{}, {"protocol": 3, "decode_responses": True}], ids=["bytes", "text"])
def test_a_stream_entry_is_claimed_and_counted(scene: Scene, redis_url: str, options: dict[str, Any]) -> None:
    """Failed, left by a consumer that died, done: Redis counts the deliveries, and the last one is acknowledged."""
    stream = f"beyond-{secrets.token_hex(4)}"
    with redis.Redis.from_url(redis_url, **options) as client:
        redis_streams.add(client, stream, {"order": 17})
        first, second, third = (
            redis_streams.Consumer(client, stream, "shipping", f"ship-{n}", claim_after=0.05)
            for n in range(3)
        )
        (delivery,) = first.read()
        with pytest.raises(ValueError, match="secret text"), delivery.process():
            raise ValueError("secret text")
        taken: list[redis_streams.Delivery] = []
        wait_for(lambda: bool(taken.extend(second.read()) or taken), "the second delivery")  # it dies
        wait_for(lambda: bool(taken.extend(third.read()) or taken[1:]), "the third delivery")
        with pytest.raises(ValueError, match="secret text"), taken[1].process():
            raise ValueError("secret text")
        wait_for(lambda: bool(taken.extend(first.read()) or taken[2:]), "the fourth delivery")
        with taken[2].process():
            assert client.keys(f"{stream}:*")
        taken[2].ack()
        assert client.xpending(stream, "shipping")["pending"] == 0
        assert third.read(block=0.01) == []
        assert client.keys(f"{stream}:*") == [], "a note of the attempts is left"
    failed, again, done = attempts_of(scene, 3)
    assert [span.attributes[names.MESSAGE_ATTEMPT] for span in (failed, again, done)] == [1, 3, 4]
    assert [span.attributes[names.MESSAGE_REDELIVERED] for span in (failed, again, done)] == [
        False,
        True,
        True,
    ]
    assert [failed.attributes[names.ERROR_TYPE], again.attributes[names.ERROR_TYPE]] == ["ValueError"] * 2
    assert "secret text" not in repr((failed, again))
    assert names.ERROR_TYPE not in done.attributes
    assert done.attributes[names.MESSAGING_CLIENT_ID] == "ship-0"
    # Who died in the second attempt left nothing that could be linked to.
    assert [retry_of(span) for span in (failed, again, done)] == [[], [], [again.span_id]]


def test_attempts_at_a_stream_that_is_all_a_user_may_touch(
    scene: Scene, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a note of a failed attempt may not be written, the work goes on: numbered, with a warning and no link."""
    stream, user = (f"beyond-{secrets.token_hex(4)}" for _ in range(2))
    with redis.Redis.from_url(redis_url) as admin:
        redis_streams.add(admin, stream, {"order": 17})
        admin.acl_setuser(user, enabled=True, passwords=["+pass"], keys=[stream], categories=["+@all"])
        try:
            address = urlsplit(redis_url)
            own = address._replace(netloc=f"{user}:pass@{address.hostname}:{address.port}").geturl()
            with redis.Redis.from_url(own) as client:
                consumer = redis_streams.Consumer(client, stream, "shipping", "ship-1", claim_after=0.05)
                (delivery,) = consumer.read()
                with pytest.raises(ValueError, match="no good"), delivery.process():
                    raise ValueError("no good")
                taken: list[redis_streams.Delivery] = []
                wait_for(lambda: bool(taken.extend(consumer.read()) or taken), "the second delivery")
                with taken[0].process():
                    pass
                assert admin.xpending(stream, "shipping")["pending"] == 0
        finally:
            admin.acl_deluser(user)
    failed, done = attempts_of(scene, 2)
    assert failed.attributes[names.ERROR_TYPE] == "ValueError"
    assert done.attributes[names.MESSAGE_ATTEMPT] == 2
    assert retry_of(done) == []
    assert caplog.messages == [f"no note of the attempts at {delivery.id} in {stream}"] * 3


def test_a_stream_that_cannot_be_written(scene: Scene, redis_url: str) -> None:
    """XADD to what is no stream: the send fails with the error's type, which passes on, and the context is restored."""
    key = f"beyond-{secrets.token_hex(4)}"
    with redis.Redis.from_url(redis_url) as client, tracer().start_as_current_span("root") as root:
        client.set(key, "no stream", ex=60)
        with pytest.raises(redis.ResponseError):
            redis_streams.add(client, key, {"order": 17})
        assert trace.get_current_span() is root
    scene.spans(processed=0)
    spans = scene.sink.wait_for(lambda spans: len(spans) == 2, timeout=60)
    (send,) = [span for span in spans if span.kind == "producer"]
    assert send.attributes[names.ERROR_TYPE].endswith("ResponseError")


def test_a_stream_entry_of_somebody_else(scene: Scene, redis_url: str) -> None:
    """An entry without trace context, or with something else in its place, is a trace of its own; fields are whole."""
    stream = f"beyond-{secrets.token_hex(4)}"
    junk = {"traceparent": b"\xff" * 5000, "baggage": b"%", b"\xfe": b"\x00"}
    with redis.Redis.from_url(redis_url) as client:
        client.xadd(stream, {"order": 17})
        client.xadd(stream, junk)  # type: ignore[arg-type]
        plain, odd = redis_streams.Consumer(client, stream, "shipping", "ship-1").read(count=2)
        for delivery in (plain, odd):
            with delivery.process():
                pass
    assert plain.fields == {b"order": b"17"}
    assert odd.fields == {b"\xfe": b"\x00"}
    spans = scene.spans(processed=2)
    assert len({span.trace_id for span in spans}) == 2
    assert {span.parent_span_id for span in spans} == {""}


@over("redis", "rabbitmq")
def test_kombu_requeues_and_rejects(scene: Scene) -> None:
    """A callback that raises or requeues gets the message again, linked to the attempt before; one that rejects does
    not. All three have a failed span."""
    plain = f"beyond-{secrets.token_hex(4)}"
    redelivered = []

    def fails_then_rejects(body: Any, message: Any) -> None:
        redelivered.append(body)
        if len(redelivered) == 1:
            raise ValueError("secret text")
        if len(redelivered) == 2:
            message.requeue()
        else:
            message.reject()

    callback = kombu.traced(fails_then_rejects, acknowledge=True)
    with connected(scene) as connection:
        Queue(plain, channel=connection).declare()
        kombu.publish(Producer(connection), {"order": 17}, routing_key=plain)
        with pytest.raises(ValueError, match="secret text"):
            drain(connection, plain, callback)
    with connected(scene) as connection:
        # RabbitMQ may have been quick enough to deliver it again before the first consumer was cancelled.
        drain(connection, plain, callback, deliveries=3 - len(redelivered))
    found = failed, requeued, _ = attempts_of(scene, 3)
    assert redelivered == [{"order": 17}] * 3
    assert [span.attributes[names.MESSAGE_ATTEMPT] for span in found] == [1, 2, 3]
    assert [span.attributes[names.MESSAGE_REDELIVERED] for span in found] == [False, True, True]
    assert [span.attributes[names.ERROR_TYPE] for span in found] == ["ValueError", "rejected", "rejected"]
    assert [retry_of(span) for span in found] == [[], [failed.span_id], [requeued.span_id]]
    assert "secret text" not in repr(failed)


@over("rabbitmq")
def test_attempts_at_other_consumers_are_not_linked(scene: Scene) -> None:
    """A quorum queue counts: an attempt is linked to the one before only if that was this consumer's, too."""
    queue = Queue(f"beyond-{secrets.token_hex(4)}", queue_arguments={"x-queue-type": "quorum"})

    def fails(body: Any, message: Any) -> None:
        raise ValueError("no good")

    here, there = kombu.traced(fails, acknowledge=True), kombu.traced(fails, acknowledge=True)
    done = kombu.traced(lambda body, message: None, acknowledge=True)
    with connected(scene) as connection:
        bound = queue(connection)
        kombu.publish(Producer(connection), {}, routing_key=queue.name, declare=[bound])

        def take(callback: Any) -> None:
            # One by one: what a consumer is sent ahead of its turn counts as delivered
            got: list[Any] = []
            wait_for(lambda: got.append(bound.get()) or got[-1] is not None, "the message")
            callback({}, got[-1])

        for callback in (here, there, here, here):
            with pytest.raises(ValueError, match="no good"):
                take(callback)
        take(done)
        bound.delete()
    found = attempts_of(scene, 5)
    assert [span.attributes[names.MESSAGE_ATTEMPT] for span in found] == [1, 2, 3, 4, 5]
    assert [retry_of(span) for span in found] == [[], [], [], [found[2].span_id], []]


def test_a_queue_that_is_not_believed(scene: Scene) -> None:
    """kombu or stream, the policy of the queue that is read holds: a trace of its own, linked to the claimed one."""
    plain, stream = (f"beyond-{secrets.token_hex(4)}" for _ in range(2))
    instrument(trust={plain: "restart", stream: "restart"})
    with connected(scene) as connection:
        Queue(plain, channel=connection).declare()
        kombu.publish(Producer(connection), {}, routing_key=plain)
        drain(connection, plain, kombu.traced(lambda body, message: None, acknowledge=True))
    with redis.Redis.from_url(scene.broker.backend) as client:
        redis_streams.add(client, stream, {"order": 17})
        (delivery,) = redis_streams.Consumer(client, stream, "shipping", "ship-1").read()
        with delivery.process():
            pass
    spans = scene.spans(processed=2)
    sends = {(span.trace_id, span.span_id) for span in spans if span.kind == "producer"}
    found = consumers(spans)
    assert len({span.trace_id for span in spans}) == 4
    assert {span.parent_span_id for span in found} == {""}
    assert {(link.trace_id, link.span_id) for span in found for link in span.links} == sends
    assert [span.attributes[names.MESSAGE_ATTEMPT] for span in found] == [1, 1]


def test_the_samples_of_the_documentation(scene: Scene, redis_url: str, rabbitmq_url: str) -> None:
    """Every sample of docs/beyond-celery.md does what it says."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 5
    queue = f"beyond-{secrets.token_hex(4)}"
    for old, new in (
        ("redis.Redis()", f"redis.Redis.from_url({redis_url!r})"),
        ("amqp://localhost//", rabbitmq_url),
        ("redis://localhost/0", redis_url),
        ('"orders"', f'"{queue}"'),
        ('"celery"', f'"{queue}-celery"'),
    ):
        assert any(old in block for block in blocks), old
        blocks = [block.replace(old, new) for block in blocks]
    samples: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), samples)  # noqa: S102 - our own documentation
    samples["client"].close()
    spans = scene.spans(processed=3)
    sends = [span for span in spans if span.kind == "producer"]
    assert sorted(span.attributes[names.MESSAGING_SYSTEM] for span in sends) == [
        "kafka",
        "rabbitmq",
        "redis",
        "redis",
    ]
    assert {span.parent_span_id for span in consumers(spans)} <= {span.span_id for span in sends}
