"""Celery's message protocol 1, where everything is in the body: the same one tree as with protocol 2."""

from __future__ import annotations

import pytest
from celery import chain, chord

from handrail_propagation import conventions as names
from handrail_propagation import run_context, tracer

from .conftest import Scene, consumers

pytestmark = pytest.mark.integration


def test_protocol_1_is_one_tree(scene: Scene) -> None:
    """Delegations, retries, a chain, a chord, an errback, an unknown task and a countdown: one trace, no orphan."""
    scene.app.conf.task_protocol = 1
    scene.worker(concurrency=2, env={"TEST_PROTOCOL": "1"})
    with run_context("run-1"), tracer().start_as_current_span("root"):
        scene.send("fan_out", 3, 2)
        scene.send("flaky", 2)
        steps = chain(
            *(scene.signature("add", *numbers) for numbers in ((1, 2), (3,), (4,))), app=scene.app
        )()
        body_result = chord([scene.signature("add", n, n) for n in range(3)], app=scene.app)(
            scene.signature("total")
        )
        scene.send("raises", "text", link_error=scene.signature("pid", immutable=True))
        scene.send("nothing_of_that_name")
        scene.send("add", 1, 2, countdown=1)
    assert (steps.get(timeout=60), body_result.get(timeout=60)) == (10, 6)
    forest = scene.forest(processed=7 + 3 + 3 + 4 + 2 + 1 + 1)
    assert len({span.trace_id for span in forest.spans}) == 1
    assert len(forest.roots) == 1
    assert not forest.orphans
    assert {span.attributes[names.RUN_ID] for span in forest.spans} == {"run-1"}
    found = consumers(list(forest.spans))
    assert sorted(span.attributes[names.MESSAGE_ATTEMPT] for span in found)[-2:] == [2, 3]
    body = max((span for span in forest.spans if span.kind == "producer"), key=lambda span: len(span.links))
    assert (
        len([link for link in body.links if link.attributes[names.LINK_TYPE] == names.LINK_PREDECESSOR]) == 3
    )
