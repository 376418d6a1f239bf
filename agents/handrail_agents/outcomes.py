"""How a run ends, or what it waits for: values that a caller must handle, none of them an exception."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from handrail_propagation.conventions import Risk


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call, as far as it may be shown: who wanted what on which resources, without the arguments."""

    run_id: str
    invocation: str
    step: int
    agent: str
    tool: str
    risk: Risk
    touches: tuple[str, ...]
    args_digest: str
    """SHA-256 of the canonical (RFC 8785) validated arguments, 64 hex digits."""


@dataclass(frozen=True, slots=True)
class Approval:
    """A call that waits for a human. `id` is what the human will refer to."""

    id: str
    call: Call


@dataclass(frozen=True, slots=True)
class Done:
    """The run ended; `value` is what the agent returned, in its JSON form."""

    value: Any = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run is parked, no worker is held: a human must decide on `approval`."""

    approval: Approval


@dataclass(frozen=True, slots=True)
class InDoubt:
    """A worker died between the start and the end of `call`: it may or may not have had its effect."""

    call: Call


@dataclass(frozen=True, slots=True)
class Refused:
    """The run ended at `call`, which was not allowed; `reason` says by what."""

    call: Call
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended with an error. `error_type` is the exception's type, `message` one redacted line."""

    error_type: str
    message: str = field(default="")


Outcome = Done | Waiting | InDoubt | Refused | Failed
Blocked = (Waiting, InDoubt)
"""Outcomes that a human can turn into another one; all others are final."""

_KINDS: Final = {kind.__name__: kind for kind in (Done, Waiting, InDoubt, Refused, Failed)}


def to_text(outcome: Outcome) -> str:
    """Return an outcome as JSON text for the journal."""
    if isinstance(outcome, Done):
        return json.dumps({"kind": "Done", "value": outcome.value})
    return json.dumps({"kind": type(outcome).__name__, **asdict(outcome)})


def from_text(text: str) -> Outcome:
    """Return the outcome that `to_text` wrote."""
    document = json.loads(text)
    kind = _KINDS[document.pop("kind")]
    if "approval" in document:
        document["approval"] = Approval(
            id=document["approval"]["id"], call=_call(document["approval"]["call"])
        )
    if "call" in document:
        document["call"] = _call(document["call"])
    outcome: Outcome = kind(**document)
    return outcome


def _call(document: dict[str, Any]) -> Call:
    return Call(**{**document, "touches": tuple(document["touches"])})
