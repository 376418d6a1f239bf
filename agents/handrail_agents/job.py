"""A run as its sender sees it: ids, and what became of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from handrail_agents.errors import HandrailError
from handrail_agents.journal import Journal
from handrail_agents.outcomes import Outcome

_POLL_FIRST = 0.02
_POLL_MOST = 0.25


@dataclass(frozen=True, slots=True)
class Job:
    """One run. `run_id` and `trace_id` are 32 hex digits; the trace id is zeros while tracing is off."""

    run_id: str
    trace_id: str
    agent: str
    queue: str
    journal: Journal = field(repr=False, compare=False)

    def outcome(self) -> Outcome | None:
        """Return the outcome, `None` while the run goes on; raises `JournalError`."""
        return self.journal.outcome(self.run_id)

    def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the outcome, at most `timeout` seconds (`None`: for ever).

        Returns `Done`, `Waiting`, `InDoubt`, `Refused` or `Failed`. Raises `TimeoutError`, `JournalError`,
        and `HandrailError` inside a Celery task, where waiting would hold a worker.
        """
        from celery import current_task

        if current_task:
            raise HandrailError(
                "job.result() inside a task holds a worker, which may be the one that the run needs; "
                "delegate with run.delegate(...) instead"
            )
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _POLL_FIRST
        while (found := self.outcome()) is None:
            left = _POLL_MOST if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(self._overdue(timeout))
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _POLL_MOST)
        return found

    def _overdue(self, timeout: float | None) -> str:
        if self.journal.started(self.run_id):
            return f"run {self.run_id} of agent {self.agent!r} is not over after {timeout} s; it goes on"
        return (
            f"no worker has taken run {self.run_id} of agent {self.agent!r} after {timeout} s; "
            f"is one started with -Q {self.queue}?"
        )
