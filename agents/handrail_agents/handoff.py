"""The `handrail` message header: which invocation a message is about. Hostile until proven otherwise.

It names, it does not describe: agent, parent and path of an invocation are in the journal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from handrail_agents.errors import HandrailError

VERSION: Final = 1
_ID: Final = re.compile(r"[0-9a-f]{32}")

Kind = Literal["start", "wake"]


_KINDS: Final[dict[str, Kind]] = {"start": "start", "wake": "wake"}


class BadHeader(HandrailError):
    """The message's `handrail` header is not one of ours; the message is dropped."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a message asks for: start or wake an invocation of a run. Ids are 32 hex digits."""

    kind: Kind
    run_id: str
    invocation: str

    def to_dict(self) -> dict[str, Any]:
        """Return the header as it travels."""
        return {"v": VERSION, "kind": self.kind, "run": self.run_id, "invocation": self.invocation}

    @classmethod
    def parse(cls, value: Any) -> Header:
        """Return the header in a value off the wire; raises `BadHeader`, without quoting it."""
        if not isinstance(value, dict) or value.keys() != {"v", "kind", "run", "invocation"}:
            raise BadHeader("the handrail header does not have v, kind, run, invocation; message dropped")
        if type(value["v"]) is not int or value["v"] != VERSION:
            raise BadHeader(f"the handrail header is not of version {VERSION}; message dropped")
        kind = _KINDS.get(value["kind"]) if isinstance(value["kind"], str) else None
        if kind is None:
            raise BadHeader("the handrail header's kind is neither start nor wake; message dropped")
        for name in ("run", "invocation"):
            if not isinstance(value[name], str) or not _ID.fullmatch(value[name]):
                raise BadHeader(f"the handrail header's {name} is not 32 hex digits; message dropped")
        return cls(kind=kind, run_id=value["run"], invocation=value["invocation"])
