"""Asking workers to leave a queue: what one has not heard is said again, and silence is an error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from handrail_harness.errors import StackError
from handrail_harness.faults import consumers as asking
from handrail_harness.faults.consumers import Consumers
from handrail_harness.stack.workers import Worker


def _asked(monkeypatch: pytest.MonkeyPatch, deaf_for: int) -> tuple[Consumers, list[list[str]]]:
    """Consumers with two workers, the second of which hears nothing of what is said first; who was asked, each time."""
    workers = [SimpleNamespace(hostname=f"{name}@here", running=True) for name in ("early", "late")]
    consumers = Consumers("memory://", "audits", [cast(Worker, worker) for worker in workers])
    asked: list[list[str]] = []

    def broadcast(command: str, *, destination: list[str], **_: Any) -> list[dict[str, Any]]:
        asked.append(destination)
        heard = [node for node in destination if node == "early@here" or len(asked) > deaf_for]
        return [{node: {"ok": command}} for node in heard]

    monkeypatch.setattr(consumers._app.control, "broadcast", broadcast)
    return consumers, asked


def test_who_has_not_heard_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Redis a command that comes before a worker listens is gone: only that worker is told once more."""
    consumers, asked = _asked(monkeypatch, deaf_for=2)
    consumers.stop()
    assert asked == [["early@here", "late@here"], ["late@here"], ["late@here"]]


def test_who_never_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker without remote control is an error that says so, and not a queue that is read all the same."""
    monkeypatch.setattr(asking, "_ANSWER", 0.05)
    consumers, _ = _asked(monkeypatch, deaf_for=10**9)
    with pytest.raises(StackError, match="worker late@here did not answer cancel_consumer for queue audits"):
        consumers.stop()
