"""The error tree. Every error that Handrail raises on purpose is a `HandrailError`.

    HandrailError
    ├── ConfigurationError     a setting, a header policy or an environment variable is unusable
    ├── NotRecorded            what must be on disk before a call is not there: the call is not made
    ├── UnknownAgent           handrail_agents: no agent of that name
    ├── InvalidArguments       handrail_agents: arguments that do not fit a signature
    ├── ModelError             handrail_agents: a model that fails, times out or answers garbage
    ├── JournalError           handrail_agents: the run's state cannot be read or written
    ├── StackError             handrail_harness: Redis, the receiver or a worker cannot be started
    ├── SourceError            handrail_harness: spans cannot be read (unreachable, malformed)
    │   └── TraceNotFound
    ├── RunAssertion           handrail_harness: a run is not as a test says; an AssertionError, too
    │   ├── EmptySelection     a query of a test found nothing
    │   └── RelationFailed     two steps do not stand to each other as a test says
    ├── FaultDidNotBite        handrail_harness: an injected fault never took effect
    └── EagerModeRefused       handrail_harness: task_always_eager proves nothing

A message names the thing, what was wrong with it, and the next step. The class docstring is the default
message, so it is written for the person who reads it on a terminal.
"""

from __future__ import annotations


class HandrailError(Exception):
    """Something in Handrail could not be done; run the command again with --debug to see where."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message if message is not None else (type(self).__doc__ or type(self).__name__))


class ConfigurationError(HandrailError):
    """A setting is unusable; see the table in docs/configuration.md."""
