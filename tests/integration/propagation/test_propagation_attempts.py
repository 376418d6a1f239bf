"""One span per delivery attempt: copies, retries, redeliveries and deaths, under the one send they belong to."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError
from opentelemetry import baggage, context, trace

from handrail_harness.forest import Forest
from handrail_harness.spans import Span
from handrail_propagation import conventions as names
from handrail_propagation import run_context, tracer

from .brokers import RabbitMQ
from .conftest import Scene, SceneOver, consumers, over

pytestmark = pytest.mark.integration


def by_start(spans: Any) -> list[Span]:
    """Earliest first."""
    return sorted(spans, key=lambda span: span.start_unix_nano)


def attempts(forest: Forest) -> list[Span]:
    """The `process` spans, earliest first; all of them hang under the only `send` span."""
    (send,) = [span for span in forest.spans if span.kind == "producer"]
    found = by_start(span for span in forest.spans if span.kind == "consumer")
    assert {span.parent_span_id for span in found} == {send.span_id}
    assert len({span.trace_id for span in forest.spans}) == 1
    assert len(forest.roots) == 1
    assert not forest.orphans
    return found


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_two_deliveries_of_one_task_at_the_same_time(scene: Scene, tmp_path: Path, pool: str) -> None:
    """A message that is in the queue twice runs twice at once in one process: two spans, each with its own inside."""
    barrier = tmp_path / "barrier"
    with run_context("run-twice"), tracer().start_as_current_span("root"):
        scene.send("same_time", str(barrier), 2)
    scene.broker.copy_waiting(scene.queue)
    worker = scene.worker(pool, concurrency=4)
    forest = scene.forest(processed=2)
    first, second = attempts(forest)
    inside = {span.parent_span_id: span for span in forest.spans if span.name == "inside"}
    assert set(inside) == {first.span_id, second.span_id}
    for delivery in (first, second):
        child = inside[delivery.span_id]
        assert delivery.start_unix_nano <= child.start_unix_nano
        assert child.end_unix_nano <= delivery.end_unix_nano
    assert max(first.start_unix_nano, second.start_unix_nano) < min(first.end_unix_nano, second.end_unix_nano)
    assert {span.attributes.get(names.RUN_ID) for span in forest.spans} == {"run-twice"}
    assert "detach" not in worker.log()


@pytest.mark.parametrize(
    ("failures", "broker"), [(1, "redis"), (5, "redis"), (5, "rabbitmq")], indirect=["broker"]
)
def test_retries_are_siblings(scene: Scene, failures: int) -> None:
    """N retries are N + 1 attempts under one send, numbered; the tree is as deep as without any."""
    scene.worker()
    with tracer().start_as_current_span("root"):
        assert scene.send("flaky", failures).get(timeout=60) == failures
    forest = scene.forest(processed=failures + 1)
    found = attempts(forest)
    assert [span.attributes[names.MESSAGE_ATTEMPT] for span in found] == list(range(1, failures + 2))
    assert [span.status_code for span in found] == ["error"] * failures + ["unset"]
    assert {span.attributes[names.ERROR_TYPE] for span in found[:-1]} == {"RuntimeError"}
    assert names.ERROR_TYPE not in found[-1].attributes
    for before, after in itertools.pairwise(found):
        retried = [link for link in after.links if link.attributes[names.LINK_TYPE] == names.LINK_RETRY_OF]
        assert [link.span_id for link in retried] == [before.span_id]
    assert "secret text" not in repr(forest.spans)


def test_baggage_that_was_cleared_stays_cleared(scene: Scene) -> None:
    """Celery copies a message's headers into its retry; what the task has cleared does not come back with them."""
    scene.worker()
    token = context.attach(baggage.set_baggage(names.BAGGAGE_RUN_ID, "run-to-forget"))
    try:
        result = scene.send("forgetful", names.BAGGAGE_RUN_ID)
    finally:
        context.detach(token)
    assert result.get(timeout=60) == {}
    first, second = attempts(scene.forest(processed=2))
    assert first.attributes[names.RUN_ID] == "run-to-forget"
    assert names.RUN_ID not in second.attributes


@over("redis", "rabbitmq")
def test_a_killed_worker_is_delivered_again(scene: Scene, tmp_path: Path) -> None:
    """SIGKILL of the whole worker: another one takes the message, under the same send, marked as redelivered."""
    worker = scene.worker(env={"TEST_VISIBILITY": "2"})
    with tracer().start_as_current_span("root"):
        result = scene.send("killed_worker", str(tmp_path / "marker"))
    worker._running().wait_until(lambda: (tmp_path / "marker").exists(), what="the task", timeout=60)
    worker.kill()
    scene.worker(env={"TEST_VISIBILITY": "2"})
    assert result.get(timeout=60) == "second time"
    forest = scene.forest(processed=1)
    (alive,) = attempts(forest)
    assert alive.attributes[names.MESSAGE_REDELIVERED] is True


def test_a_quorum_queue_counts_deliveries(
    scene_over: SceneOver, rabbitmq_url: str, redis_url: str, tmp_path: Path
) -> None:
    """RabbitMQ's quorum queues say how often a message was delivered: the third attempt is not called the second."""
    settings = {"task_default_queue_type": "quorum", "worker_detect_quorum_queues": True}
    scene = scene_over(RabbitMQ(rabbitmq_url, backend=redis_url, settings=settings))
    scene.worker()
    with tracer().start_as_current_span("root"):
        assert scene.send("dies", str(tmp_path / "marker"), 2).get(timeout=60) == "survived"
    found = attempts(scene.forest(processed=3))
    assert [span.attributes[names.MESSAGE_ATTEMPT] for span in found] == [1, 2, 3]
    assert [span.attributes.get(names.ABANDONED) for span in found] == [True, True, None]


@over("redis", "rabbitmq")
def test_a_failed_publish_is_a_failed_span(scene: Scene) -> None:
    """Nobody takes the message: the send span says so, with the type only, and the context is the one from before."""
    scheme = scene.broker.url.partition(":")[0]
    scene.app.conf.broker_write_url = f"{scheme}://127.0.0.1:1/"
    with tracer().start_as_current_span("root") as root:
        with pytest.raises((OperationalError, OSError)) as raised:
            scene.send("add", 1, 2, retry=False)
        assert trace.get_current_span() is root
    spans = scene.spans(processed=0)
    spans = scene.sink.wait_for(lambda spans: len(spans) >= 2, timeout=60)
    (send,) = [span for span in spans if span.kind == "producer"]
    assert send.status_code == "error"
    assert send.attributes[names.ERROR_TYPE].endswith(type(raised.value).__name__)
    assert send.status_message == send.attributes[names.ERROR_TYPE]
    assert "127.0.0.1" not in repr(send.attributes)


@over("redis", "rabbitmq")
def test_a_creation_context_of_ones_own_stays(scene: Scene) -> None:
    """An application that makes the creation context itself finds it unchanged; the send links to it."""
    own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    scene.send("echo_headers", headers={"traceparent": own})
    assert scene.broker.waiting_headers(scene.queue)["traceparent"] == own
    scene.worker()
    spans = scene.spans(processed=1)
    (process,) = consumers(spans)
    assert (process.trace_id, process.parent_span_id) == (own[3:35], own[36:52])
    (send,) = [span for span in spans if span.kind == "producer"]
    assert [(link.trace_id, link.span_id) for link in send.links] == [(own[3:35], own[36:52])]
