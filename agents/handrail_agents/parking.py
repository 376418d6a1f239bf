"""How an agent's code is left in the middle: the invocation's state is in the journal, the worker goes on.

A `BaseException`, so that an agent's `except Exception` does not swallow it.
"""

from __future__ import annotations

from collections.abc import Sequence

from handrail_agents.outcomes import InDoubt, Refused, Waiting


class Leave(BaseException):
    """The agent's code cannot go on in this segment."""


class Park(Leave):
    """Children are under way; the last of them wakes the invocation."""

    def __init__(self, children: Sequence[str]) -> None:
        super().__init__("parked")
        self.children = tuple(children)


class Stop(Leave):
    """The invocation has an outcome before its code has come to an end."""

    def __init__(self, outcome: Waiting | InDoubt | Refused) -> None:
        super().__init__(type(outcome).__name__)
        self.outcome = outcome
