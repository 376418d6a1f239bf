"""Errors of the agents: part of the one tree in handrail_propagation.errors.

`ModelError` lives with the models. Refusals, doubts and waits are values (`outcomes`), never exceptions: what
is in here is a mistake or a failure.
"""

from __future__ import annotations

from handrail_propagation.errors import ConfigurationError, HandrailError

__all__ = [
    "BrokerError",
    "ConfigurationError",
    "HandrailError",
    "InvalidArguments",
    "JournalError",
    "LeaseLost",
    "NoDecisionRecord",
    "NotReplayable",
    "ToolFailed",
    "TurnLimit",
    "UnknownAgent",
    "UnknownTool",
]


class UnknownAgent(HandrailError):
    """No agent of that name is registered; look at the spelling, or import the module that declares it."""


class UnknownTool(HandrailError):
    """The agent has no tool of that name; add it to `tools=` of the agent."""


class InvalidArguments(HandrailError):
    """The arguments do not fit the signature; compare them with the function's parameters."""


class NoDecisionRecord(HandrailError):
    """A tool above `read` needs a decision record; give one with `_decision=DecisionRecord(...)`."""


class ToolFailed(HandrailError):
    """A tool raised; `error_type` is the exception's type, its text stays in the worker."""

    def __init__(self, tool: str, error_type: str) -> None:
        super().__init__(f"tool {tool!r} failed with {error_type}; see the worker's log for where")
        self.tool = tool
        self.error_type = error_type


class TurnLimit(HandrailError):
    """The model asked for tools in every turn that it had; raise `max_turns`, or narrow the task."""


class BrokerError(HandrailError):
    """The message could not be handed to the broker; start it, or correct the broker URL."""


class JournalError(HandrailError):
    """The run's state cannot be read or written; look at the Redis that holds the journal."""


class LeaseLost(JournalError):
    """Another worker has taken this invocation over, since this one did not renew its lease in time."""


class NotReplayable(HandrailError):
    """The agent's code asked for something else on replay; code between journalled calls must be pure."""
