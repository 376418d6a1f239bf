"""Canvas: where each step hangs, and what it is linked to."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

from handrail_harness.forest import Forest, build
from handrail_harness.rules import Facts, breaches_of
from handrail_harness.spans import Span
from handrail_harness.stack.process import Child
from handrail_propagation import conventions as names
from handrail_propagation import tracer

from .conftest import APPS, Scene, consumers, over

pytestmark = pytest.mark.integration


def deliveries(forest: Forest) -> list[Span]:
    """The `process` spans of one whole tree that keeps every invariant, earliest first."""
    assert [f"{one.invariant}: {one.span.name} {one.detail}" for one in breaches_of(Facts(forest))] == []
    return sorted(
        (span for span in forest.spans if span.kind == "consumer"), key=lambda span: span.start_unix_nano
    )


def send_of(forest: Forest, delivery: Span) -> Span:
    """The `send` span of a delivery."""
    send = forest.parent_of(delivery)
    assert send is not None
    assert send.kind == "producer"
    return send


def linked(span: Span, kind: str) -> set[str]:
    """Ids of the spans that a span is linked to as `kind`."""
    return {link.span_id for link in span.links if link.attributes.get(names.LINK_TYPE) == kind}


@pytest.mark.parametrize("length", [3, 50])
def test_a_chain_is_flat(scene: Scene, length: int) -> None:
    """Each step hangs under whoever built the chain, linked to the step before; 50 steps are no deeper than 3."""
    scene.worker()
    steps: list[Any] = [scene.signature("add", 0, 1)]
    steps += [scene.signature("add", 1) for _ in range(length - 1)]
    with tracer().start_as_current_span("root"):
        assert chain(*steps, app=scene.app).apply_async().get(timeout=60) == length
    forest = scene.forest(processed=length)
    found = deliveries(forest)
    (root,) = forest.roots
    sends = [send_of(forest, delivery) for delivery in found]
    assert {send.parent_span_id for send in sends} == {root.span_id}
    for before, after in zip(found, sends[1:], strict=False):
        assert linked(after, names.LINK_PREDECESSOR) == {before.span_id}


def test_a_group_fans_out(scene: Scene) -> None:
    """All members hang under whoever started the group."""
    scene.worker()
    with tracer().start_as_current_span("root"):
        result = group([scene.signature("add", n, n) for n in range(5)], app=scene.app).apply_async()
        assert result.get(timeout=60) == [0, 2, 4, 6, 8]
    forest = scene.forest(processed=5)
    (root,) = forest.roots
    assert {send_of(forest, delivery).parent_span_id for delivery in deliveries(forest)} == {root.span_id}


@over("redis", "rabbitmq")
def test_a_chord_body_is_linked_to_all_of_its_header(scene: Scene) -> None:
    """The body hangs under the delegator and is linked to every header run, not only to the one that came last."""
    scene.worker(concurrency=2)
    header = [scene.signature("add", n, n) for n in range(4)]
    with tracer().start_as_current_span("root"):
        result = chord(header, app=scene.app)(scene.signature("total"))
        assert result.get(timeout=60) == 12
    forest = scene.forest(processed=5)
    (root,) = forest.roots
    *runs, body = deliveries(forest)
    assert send_of(forest, body).parent_span_id == root.span_id
    assert linked(body, names.LINK_PREDECESSOR) | linked(send_of(forest, body), names.LINK_PREDECESSOR) == {
        run.span_id for run in runs
    }


def test_a_task_that_replaces_itself(scene: Scene) -> None:
    """The replacement is sent by the delivery that it replaces; that delivery has not failed."""
    scene.worker()
    with tracer().start_as_current_span("root"):
        assert scene.send("replaced", 2, 3).get(timeout=60) == 5
    forest = scene.forest(processed=2)
    first, second = deliveries(forest)
    assert send_of(forest, second).parent_span_id == first.span_id
    assert first.status_code == "unset"


def test_callbacks(scene: Scene) -> None:
    """`link` and `link_error` hang under the delegator, linked to the run that they follow."""
    scene.worker()
    with tracer().start_as_current_span("root"):
        scene.send("add", 1, 2, link=scene.signature("add", 10))
        scene.send("raises", "text", link_error=scene.signature("pid", immutable=True))
    forest = scene.forest(processed=4)
    found = deliveries(forest)
    (root,) = forest.roots
    followers = [span for span in found if linked(send_of(forest, span), names.LINK_PREDECESSOR)]
    assert len(followers) == 2
    for follower in followers:
        send = send_of(forest, follower)
        assert send.parent_span_id == root.span_id
        assert linked(send, names.LINK_PREDECESSOR) <= {span.span_id for span in found}


def test_a_delay_that_was_asked_for_is_no_queue_wait(scene: Scene) -> None:
    """With a countdown or an ETA, the intended delay and the wait in the queue are told apart."""
    scene.worker()
    with tracer().start_as_current_span("root"):
        scene.send("add", 1, 2, countdown=1.5)
        scene.send("add", 1, 2, eta=datetime.now(UTC) + timedelta(seconds=1.5))
        scene.send("add", 1, 2)
    countdown, eta, plain = sorted(
        deliveries(scene.forest(processed=3)),
        key=lambda span: -float(str(span.attributes.get(names.MESSAGE_INTENDED_DELAY, 0))),
    )
    for delayed in (countdown, eta):
        assert 1.0 <= delayed.attributes[names.MESSAGE_INTENDED_DELAY] <= 2.0
        assert 0 <= delayed.attributes[names.MESSAGE_QUEUE_WAIT] < 1.4
    assert names.MESSAGE_INTENDED_DELAY not in plain.attributes


def test_beat_begins_a_trace_each_time(scene: Scene, tmp_path: Path) -> None:
    """What `celery beat` sends is the root of a trace of its own, with the run of the task below it."""
    scene.worker()
    command = [sys.executable, "-m", "celery", "-A", "propagation_app", "beat"]
    command += ["-s", str(tmp_path / "schedule"), "--pidfile", ""]
    beat = Child(
        command, log_path=tmp_path / "log", env={**os.environ, **scene.environ(TEST_BEAT="1")}, cwd=APPS
    )

    def received(spans: list[Span]) -> list[Span]:
        sent = {span.span_id for span in spans if span.kind == "producer"}
        return [span for span in consumers(spans) if span.parent_span_id in sent]

    try:
        spans = scene.sink.wait_for(lambda spans: len(received(spans)) >= 2, timeout=60)
    finally:
        beat.close()
    forest, found = build(spans), received(spans)
    assert len({span.trace_id for span in found}) == len(found) >= 2
    for delivery in found:
        assert send_of(forest, delivery) in forest.roots
