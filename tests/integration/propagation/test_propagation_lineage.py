"""A branch that lost its trace context: found by what travels apart from it, told, and never mended."""

from __future__ import annotations

import json

import pytest
import redis

from handrail_harness.rules import check
from handrail_harness.sources.memory import MemorySource
from handrail_propagation import conventions as names
from handrail_propagation import run_context, tracer

from .conftest import Scene, consumers

pytestmark = pytest.mark.integration


def lose(scene: Scene, *headers: str) -> None:
    """Take headers off the one message that waits in Redis."""
    with redis.Redis.from_url(scene.broker.url) as client:
        message = json.loads(client.lindex(scene.queue, 0))
        for header in headers:
            del message["headers"][header]
        client.lset(scene.queue, 0, json.dumps(message))


@pytest.mark.parametrize("lost", [("traceparent",), ("traceparent", "baggage")], ids="-".join)
def test_a_branch_that_lost_its_traceparent_is_found(scene: Scene, lost: tuple[str, ...]) -> None:
    """`check` finds it by run id, else by Celery's root id, joins it by evidence and says so; two roots stay two."""
    with run_context("run-torn"), tracer().start_as_current_span("root") as root:
        trace_id = f"{root.get_span_context().trace_id:032x}"
        top = scene.send("fan_out", 2, 2).id
    lose(scene, *lost)
    scene.worker()
    spans = scene.spans(processed=3)
    (torn,) = {span.trace_id for span in consumers(spans)} - {trace_id}
    for span in consumers(spans):
        assert span.attributes[names.MESSAGE_ROOT_ID] == top
        assert span.attributes.get(names.MESSAGE_PARENT_ID, top) == top
    runs = {span.attributes.get(names.RUN_ID) for span in spans}
    assert runs == ({"run-torn", None} if "baggage" in lost else {"run-torn"})

    report = check(MemorySource(spans), trace_id)
    assert set(report.trace_ids) == {trace_id, torn}
    assert not report.unified
    assert len(report.forest.roots) == 2
    (broken,) = report.handoffs.broken
    assert (broken.joined_by, broken.send.trace_id) == ("message_id", trace_id)
    assert [span.trace_id for span in broken.consumers] == [torn]
    (finding,) = report.findings
    assert finding.name == "broken_handoff"
    assert "lost its trace context" in finding.detail
