"""SIGKILL before, in and after the task: every attempt is in the tree, the dead one closed for what it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from handrail_harness.forest import Forest, build
from handrail_harness.spans import Span
from handrail_propagation import conventions as names
from handrail_propagation import tracer

from .conftest import Scene, over

pytestmark = pytest.mark.integration

PLACES = ("prerun", "inside", "postrun")


def send_all(scene: Scene, folder: Path, together: int) -> None:
    """One message for each place to die at, each under a root of that name."""
    folder.mkdir()
    for where in PLACES:
        with tracer().start_as_current_span(where):
            scene.send("mortal", where, str(folder), together)


def both(forest: Forest, where: str) -> tuple[Span, Span]:
    """The dead attempt at a message and the one after it, both under its send; the whole forest has no orphan."""
    assert not forest.orphans
    assert not forest.duplicates
    (root,) = [span for span in forest.roots if span.name == where]
    (send,) = forest.children_of(root)
    dead, alive = forest.children_of(send)
    assert dead.attributes[names.ABANDONED] is True
    assert dead.attributes[names.ERROR_TYPE] == names.ERROR_WORKER_LOST
    assert dead.status_code == "error"
    assert dead.attributes[names.MESSAGE_REDELIVERED] is False
    assert alive.status_code == "unset"
    assert names.ABANDONED not in alive.attributes
    assert alive.attributes[names.MESSAGE_REDELIVERED] is True
    assert [one.attributes[names.MESSAGE_ATTEMPT] for one in (dead, alive)] == [1, 2]
    steps = [[span.name for span in forest.children_of(one)] for one in (dead, alive)]
    assert steps == [[] if where == "prerun" else [f"step {where}"], [f"step {where}"]]
    return dead, alive


@over("redis", "rabbitmq")
def test_a_child_dies_before_in_and_after_the_task(scene: Scene, tmp_path: Path) -> None:
    """The worker's main process closes each dead attempt with its signal; the next attempt is its sibling."""
    scene.worker()
    send_all(scene, tmp_path / "marks", together=0)
    forest = build(scene.spans(processed=6, timeout=60))
    for where in PLACES:
        dead, _ = both(forest, where)
        assert dead.attributes[names.ABANDONED_REASON] == "signal 9 (SIGKILL)"


def test_a_child_that_is_not_replaced_by_another_attempt(scene: Scene) -> None:
    """Celery's default, acknowledged before it runs: the one attempt ends as abandoned, with signal or exit code."""
    scene.worker(env={"TEST_SETTINGS": '{"worker_lost_wait": 0.5}'})
    for how in ("SIGKILL", "exit 3"):
        with tracer().start_as_current_span(how):
            scene.send("leaves", how)
    forest = build(scene.spans(processed=2, timeout=60))
    assert not forest.orphans
    found = {}
    for root in forest.roots:
        (send,) = forest.children_of(root)
        (found[root.name],) = forest.children_of(send)
    assert {name: span.attributes[names.ABANDONED_REASON] for name, span in found.items()} == {
        "SIGKILL": "signal 9 (SIGKILL)",
        "exit 3": "exitcode 3",
    }
    for span in found.values():
        assert (span.status_code, span.attributes[names.ERROR_TYPE]) == ("error", names.ERROR_WORKER_LOST)
        assert span.attributes[names.ABANDONED] is True
        assert span.attributes[names.MESSAGE_ATTEMPT] == 1


def test_a_worker_dies_before_in_and_after_the_task(scene: Scene, tmp_path: Path) -> None:
    """With a spool nothing of a killed worker is lost: the next one forwards it, and closes what was open."""
    spool = {"HANDRAIL_SPOOL_DIR": str(tmp_path / "spool")}
    worker = scene.worker(env=spool, concurrency=3)
    send_all(scene, tmp_path / "marks", together=3)
    assert worker._running().wait(60), "the worker is killed by one of its children"
    scene.worker(env={**spool, "TEST_VISIBILITY": "4"}, concurrency=3)
    forest = build(scene.spans(processed=6, timeout=60))
    for where in PLACES:
        both(forest, where)
