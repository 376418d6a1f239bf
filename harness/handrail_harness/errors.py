"""Errors of the harness; the whole tree is drawn in `handrail_propagation.errors`."""

from __future__ import annotations

from handrail_propagation.errors import HandrailError


class StackError(HandrailError):
    """A part of the stack could not be started; `handrail doctor` or --debug shows why."""


class SourceError(HandrailError):
    """Spans could not be read from this source; check its address and that it is running."""


class TraceNotFound(SourceError):
    """No such trace in this source; it may not have been exported yet, or its id is wrong."""


class EagerModeRefused(HandrailError):
    """task_always_eager is on: nothing crosses a queue then, so a test of it proves nothing. Switch it off."""
