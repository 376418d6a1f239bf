"""What is remembered of a run between messages: the interface, and the values that pass through it.

A run has invocations (the root's id is the run's own id); an invocation has numbered steps, each with a few
entries that are written once. Only the holder of an invocation's lease may advance it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from handrail_agents.outcomes import Outcome

Began = Literal["go", "busy", "waits", "finished", "unknown"]


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of one agent within a run. Ids are 32 hex digits; `path` names the ancestors, root first."""

    run_id: str
    id: str
    agent: str
    parent: str | None = None
    path: tuple[str, ...] = ()

    @property
    def caller(self) -> str | None:
        """Name of the agent that delegated, `None` for the root."""
        return self.path[-1] if self.path else None

    def child(self, step: int, index: int, agent: str) -> Invocation:
        """Return the invocation that this one delegates to: the same one on every replay."""
        digest = hashlib.sha256(f"{self.run_id}:{self.id}:{step}:{index}".encode()).hexdigest()
        return Invocation(self.run_id, digest[:32], agent, self.id, (*self.path, self.agent))


@dataclass(frozen=True, slots=True)
class Segment:
    """The answer to `begin`: whether to go on, and with what."""

    began: Began
    number: int = 0
    """1.. when `began` is `go`."""
    invocation: Invocation | None = None
    """What the journal knows of it, when `began` is `go`."""
    entries: Mapping[str, str] = field(default_factory=dict)
    """Every entry of the invocation so far."""


@dataclass(frozen=True, slots=True)
class Wake:
    """An invocation that became ready because its last child has a result."""

    invocation: str
    agent: str


class Journal(Protocol):
    """Durable state of runs. Every method raises `JournalError` when the store does not answer.

    `holder` is the lease's text; a write by somebody who lost the lease raises `LeaseLost`.
    """

    def open(self, invocation: Invocation) -> None:
        """Make a root invocation known, so that a message may start it."""

    def begin(self, run_id: str, invocation: str, agent: str, holder: str) -> Segment:
        """Take the lease and start a segment, unless the invocation is held, waiting, finished or unknown."""

    def renew(self, run_id: str, invocation: str, holder: str) -> bool:
        """Keep the lease; return whether it is still ours."""

    def release(self, run_id: str, invocation: str, holder: str) -> None:
        """Give the lease back without an outcome (the process is ending)."""

    def record(self, run_id: str, invocation: str, holder: str, key: str, entry: str) -> str | None:
        """Write an entry once; return the one that was there before, `None` if ours is the first."""

    def note(self, run_id: str, invocation: str, key: str, entry: str) -> None:
        """Write an entry once, with or without the lease: for what has happened and cannot be undone."""

    def delegate(
        self,
        parent: Invocation,
        holder: str,
        key: str,
        entry: str,
        children: Sequence[Invocation],
    ) -> str | None:
        """Write a delegation entry and make its children known, in one step; return as `record`."""

    def park(self, run_id: str, invocation: str, holder: str, children: Sequence[str]) -> list[str] | None:
        """Give the lease back until all children have results; return those instead if they have them now."""

    def results(self, run_id: str, invocation: str, children: Sequence[str]) -> list[str | None]:
        """Return the outcomes (as text) that children have stored so far."""

    def settle(self, run_id: str, invocation: str, holder: str | None, outcome: Outcome) -> Wake | None:
        """Store the outcome, tell the parents, give the lease back; return the parent that is ready to go on.

        With `holder=None` only an invocation without outcome and lease is settled (nobody could run it).
        """

    def settled_again(self, run_id: str, invocation: str) -> Wake | None:
        """Repeat what `settle` told the parent: its wake message may have been lost with the worker."""

    def outcome(self, run_id: str) -> Outcome | None:
        """Return the root's outcome, `None` while it runs."""

    def started(self, run_id: str) -> bool:
        """Return whether a worker has ever taken the root invocation."""
