"""Ends that leave nothing in ordinary tracing: each is one consumer span in its trace, with its error type."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

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


def garble(scene: Scene, task_id: str) -> None:
    """Make the body of a message that waits in Redis unreadable."""
    with redis.Redis.from_url(scene.broker.url) as client:
        for at, text in enumerate(client.lrange(scene.queue, 0, -1)):
            message = json.loads(text)
            if message["headers"]["id"] == task_id:
                message["body"] = base64.b64encode(b"no JSON").decode()
                client.lset(scene.queue, at, json.dumps(message))


@over("redis", "rabbitmq")
def test_ends_in_the_task(scene: Scene) -> None:
    """Errors, expected errors, Ignore, Reject and both time limits, told apart by `error.type`."""
    scene.worker()
    send(scene, "fine", "add", 1, 2)
    send(scene, "raises", "raises", "secret text")
    send(scene, "expected", "raises_expected")
    send(scene, "ignored", "ignores")
    send(scene, "rejected", "rejects")
    send(scene, "internal", "fails_afterwards")
    send(scene, "soft limit", "sleeps", 20, soft_time_limit=1)
    found = expect(
        scene,
        {
            "fine": None,
            "raises": "ValueError",
            "expected": None,
            "ignored": "ignored",
            "rejected": "rejected",
            "internal": "internal_error",
            "soft limit": "soft_time_limit",
        },
    )
    assert "secret text" not in repr(list(found.values()))


def test_a_greenlet_that_is_killed_ends_once(scene: Scene, tmp_path: Path) -> None:
    """Where a task runs in the worker's own process, of the two that could record its end one does."""
    started = tmp_path / "started"
    worker = scene.worker("gevent")
    terminated = send(scene, "terminated", "sleeps", 60, str(started))
    worker._running().wait_until(started.exists, what="the task", timeout=60)
    scene.app.control.revoke(terminated.id, terminate=True)
    send(scene, "hard limit", "sleeps", 20, time_limit=1)
    send(scene, "plain", "add", 1, 2)
    found = expect(scene, {"terminated": "terminated", "hard limit": "time_limit", "plain": None})
    assert found["terminated"].attributes[names.ABANDONED] is True
    assert "not recorded" not in worker.log()


@over("redis", "rabbitmq")
def test_ends_before_and_around_the_task(scene: Scene, tmp_path: Path) -> None:
    """Expired, revoked, unknown, unreadable, terminated, killed by its time limit: the main process records them."""
    expected: dict[str, str | None] = {"unknown": "unknown_task", "revoked": "revoked"}
    if scene.broker.system == "redis":  # RabbitMQ drops what has expired in its queue, and tells nobody
        past = datetime.now(UTC) - timedelta(seconds=60)
        send(scene, "expired in the queue", "add", 1, 2, expires=past)
        garble(scene, send(scene, "unreadable", "add", 1, 2).id)
        expected |= {"expired in the queue": "expired", "unreadable": "undecodable"}
    send(scene, "unknown", "nothing_of_that_name")
    revoked = "11111111-2222-4333-8444-555555555555"
    send(scene, "revoked", "add", 1, 2, task_id=revoked)
    send(scene, "not a task", "add", 1, 2, headers={"eta": "nonsense"})
    worker = scene.worker(env={"TEST_REVOKED": revoked})
    terminated = send(scene, "terminated", "sleeps", 60, str(tmp_path / "started"))
    worker._running().wait_until(lambda: (tmp_path / "started").exists(), what="the task", timeout=60)
    scene.app.control.revoke(terminated.id, terminate=True)
    send(scene, "hard limit", "sleeps", 20, time_limit=3)
    send(scene, "expired in the worker", "add", 1, 2, expires=2)  # prefetched, behind the one before
    expected |= {
        "not a task": "rejected",
        "terminated": "terminated",
        "hard limit": "time_limit",
        "expired in the worker": "expired",
    }
    found = expect(scene, expected)
    assert found["terminated"].attributes[names.ABANDONED_REASON] == "signal 15"
    assert found["hard limit"].attributes[names.ABANDONED] is True
    assert names.ABANDONED not in found["expired in the worker"].attributes
    assert "not recorded" not in worker.log()
