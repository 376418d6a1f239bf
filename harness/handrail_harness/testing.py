"""What the pytest fixture `handrail` gives a test: a stack, workers on it, and questions about the trees."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from handrail_harness.errors import EagerModeRefused
from handrail_harness.spans import Span
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.workers import Worker

if TYPE_CHECKING:
    from celery import Celery

    from handrail_harness.rules import Report
    from handrail_harness.sources.base import Source

_POLL = 0.1  # seconds


class Handrail:
    """An embedded stack for a test session; a context manager.

    The environment of this process is left alone: hand `environ()` to what should use the stack. Every
    question about a trace first refuses Celery apps in eager mode (`EagerModeRefused`).
    """

    def __init__(self) -> None:
        self.stack = EmbeddedStack()
        self._source: Source | None = None
        self._workers: list[Worker] = []

    @property
    def redis_url(self) -> str:
        """URL of the stack's Redis, password included."""
        return self.stack.redis_url

    @property
    def source(self) -> Source:
        """The stack's store, as `check` and `investigate` read it."""
        if self._source is None:
            self._source = self.stack.source()
        return self._source

    def environ(self) -> dict[str, str]:
        """Return the variables that point a process at the stack."""
        return self.stack.environ()

    def worker(
        self, app: str, queues: Sequence[str] = (), *, env: Mapping[str, str] | None = None, **options: Any
    ) -> Worker:
        """Start a worker on the stack and wait until it is ready; it is stopped with the session.

        Takes what `handrail_harness.stack.Worker` takes; raises `StackError` when it does not start.
        """
        refuse_eager()
        worker = Worker(app, queues, env={**self.environ(), **(env or {})}, **options)
        self._workers.append(worker)
        return worker.start()

    def check(self, trace_id: str, *, wait: float = 10.0) -> Report:
        """Return the report on a trace, or run, as soon as it is unified, at the latest after `wait` seconds.

        Raises `TraceNotFound` when nothing of it has arrived by then.
        """
        from handrail_harness.rules import settled

        refuse_eager()
        return settled(self.source, trace_id, wait=wait)

    def wait_for(
        self, trace_id: str, until: Callable[[Sequence[Span]], bool], *, timeout: float = 30.0
    ) -> Sequence[Span]:
        """Wait until the spans of a trace satisfy `until`, and return them.

        `until` is not asked before a first span has arrived. Raises `TimeoutError`, naming the spans
        that have, after `timeout` seconds.
        """
        refuse_eager()
        deadline = time.monotonic() + timeout
        while True:
            spans = self.source.spans(trace_id)
            if spans and until(spans):
                return spans
            if time.monotonic() >= deadline:
                names = ", ".join(sorted(span.name for span in spans)) or "none"
                raise TimeoutError(f"trace {trace_id} after {timeout:g} s has the spans: {names}")
            time.sleep(_POLL)

    def __enter__(self) -> Handrail:
        self.stack.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.stop()
        if self._source is not None:
            self._source.close()
        self.stack.stop()


def refuse_eager(*apps: Celery) -> None:
    """Raise `EagerModeRefused` when one of `apps` (default: any app of this process) runs its tasks in place.

    A task that never crosses a queue is in one trace even if nothing transmits its context.
    """
    if not apps and "celery" in sys.modules:
        from celery import _state

        active = _state._get_active_apps()  # type: ignore[attr-defined]
        # Only what has been used: asking an untouched app would load its configuration.
        apps = tuple(app for app in active if app.configured)
    for app in apps:
        if app.conf.task_always_eager:
            raise EagerModeRefused(
                f"task_always_eager is on in the Celery app {app.main!r}: its tasks never cross a queue, "
                "so a test of them proves nothing; switch it off"
            )
