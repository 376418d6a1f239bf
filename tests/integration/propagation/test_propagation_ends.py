"""Ends that leave nothing in ordinary tracing: each is one consumer span in its trace, with its error type."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handrail_harness.forest import build
from handrail_propagation import conventions as names
from handrail_propagation import tracer

from .conftest import Scene, consumers, over

pytestmark = pytest.mark.integration


def expect(scene: Scene, expected: dict[str, str | None]) -> dict[str, Any]:
    """Wait for one delivery per root span; return them by the root's name after comparing their error types."""
    spans = scene.spans(processed=len(expected))
    forest = build(spans)
    assert not forest.orphans
    found: dict[str, Any] = {}
    for span in consumers(spans):
        send = forest.parent_of(span)
        assert send is not None
        assert send.kind == "producer"
        root = forest.parent_of(send)
        assert root is not None
        assert root.name not in found, f"two consumer spans for {root.name}"
        found[root.name] = span
    assert {name: span.attributes.get(names.ERROR_TYPE) for name, span in found.items()} == expected
    assert {span.status_code for name, span in found.items() if expected[name]} == {"error"}
    return found


def send(scene: Scene, root: str, task: str, *args: Any, **options: Any) -> Any:
    """Send under a root span of its own, by whose name the end is found."""
    with tracer().start_as_current_span(root):
        return scene.send(task, *args, **options)


@over("redis", "rabbitmq")
def test_ends_in_the_task(scene: Scene) -> None:
    """Errors, expected errors, Ignore, Reject and both time limits, told apart by `error.type`."""
    scene.worker()
    send(scene, "fine", "add", 1, 2)
    send(scene, "raises", "raises", "secret text")
    send(scene, "expected", "raises_expected")
    send(scene, "ignored", "ignores")
    send(scene, "rejected", "rejects")
    send(scene, "soft limit", "sleeps", 20, soft_time_limit=1)
    found = expect(
        scene,
        {
            "fine": None,
            "raises": "ValueError",
            "expected": None,
            "ignored": "ignored",
            "rejected": "rejected",
            "soft limit": "soft_time_limit",
        },
    )
    assert "secret text" not in repr(list(found.values()))


@over("redis", "rabbitmq")
def test_ends_before_and_around_the_task(scene: Scene) -> None:
    """Expired, revoked, unknown, killed by its time limit: the worker's main process records them."""
    expected: dict[str, str | None] = {"unknown": "unknown_task", "revoked": "revoked"}
    if scene.broker.system == "redis":  # RabbitMQ drops what has expired in its queue, and tells nobody
        past = datetime.now(UTC) - timedelta(seconds=60)
        send(scene, "expired in the queue", "add", 1, 2, expires=past)
        expected["expired in the queue"] = "expired"
    send(scene, "unknown", "nothing_of_that_name")
    revoked = "11111111-2222-4333-8444-555555555555"
    send(scene, "revoked", "add", 1, 2, task_id=revoked)
    worker = scene.worker(env={"TEST_REVOKED": revoked})
    send(scene, "hard limit", "sleeps", 20, time_limit=1)
    send(scene, "expired in the worker", "add", 1, 2, expires=0.7)  # prefetched, behind the one before
    expected |= {"hard limit": "time_limit", "expired in the worker": "expired"}
    found = expect(scene, expected)
    assert found["hard limit"].attributes[names.ABANDONED] is True
    assert names.ABANDONED not in found["expired in the worker"].attributes
    assert "not recorded" not in worker.log()
