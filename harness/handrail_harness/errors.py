"""Errors of the harness; the whole tree is drawn in `handrail_propagation.errors`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from handrail_propagation.errors import HandrailError

if TYPE_CHECKING:
    from handrail_harness.spans import Span
    from handrail_harness.testing.runs import Run


class StackError(HandrailError):
    """A part of the stack could not be started; --debug shows why."""


class SourceError(HandrailError):
    """Spans could not be read from this source; check its address and that it is running."""


class TraceNotFound(SourceError):
    """No such trace in this source; it may not have been exported yet, or its id is wrong."""


class EagerModeRefused(HandrailError):
    """task_always_eager is on: nothing crosses a queue then, so a test of it proves nothing. Switch it off."""


class RunAssertion(HandrailError, AssertionError):
    """A run is not as a test says; the tree below shows what it was.

    `spans` are where it is not, `coloured` is the message for a terminal with colours, `run` the run, if one is
    known.
    """

    def __init__(self, message: str | None = None, spans: Sequence[Span] = ()) -> None:
        super().__init__(message)
        self.spans = tuple(spans)
        self.coloured = ""
        self.run: Run | None = None


class EmptySelection(RunAssertion):
    """A query found nothing, so an assertion over it would prove nothing; correct the name."""


class RelationFailed(RunAssertion):
    """Two steps of a run do not stand to each other as the test says; the tree shows how they do."""


class FaultDidNotBite(HandrailError):
    """A fault that a test injected never took effect, so what the test shows is not what the fault does."""
