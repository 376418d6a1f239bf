"""One case: messages with these headers go in, messages with such headers come out of the task that received them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Headers = tuple[tuple[str, str], ...]
"""Name and value, in order; a name may be repeated, as in HTTP."""

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_IDS = re.compile(r"[0-9a-f]{16,}")
_RANDOM = 0x02


@dataclass(frozen=True, slots=True)
class Probe:
    """One message, and what the task that it starts sends on.

    `trace` says whether the outgoing traceparent continues `trace_id` or begins another trace. `state` holds the
    entries of the outgoing tracestate in order, `None` where they are not judged. The task sends `sends`
    messages. `random` is the random flag that has to come out, `None` where it is not judged.
    """

    headers: Headers
    trace: Literal["continued", "new"]
    trace_id: str = ""
    state: tuple[tuple[str, str], ...] | None = None
    sends: int = 1
    random: bool | None = None

    def carried(self) -> dict[str, str | list[str]]:
        """Return the headers as a message can hold them: a repeated name has the list of its values."""
        values: dict[str, list[str]] = {}
        for name, value in self.headers:
            values.setdefault(name, []).append(value)
        return {name: same[0] if len(same) == 1 else same for name, same in values.items()}

    def breaches(self, sent: Sequence[Mapping[str, Any]]) -> list[str]:
        """Say what is wrong with the headers of the messages that the task sent; nothing when all holds."""
        if len(sent) != self.sends:
            return [f"{len(sent)} messages came out, not {self.sends}"]
        found: list[str] = []
        spans: list[str] = []
        for headers in sent:
            matched = _TRACEPARENT.fullmatch(str(headers.get("traceparent")))
            if matched is None:
                found.append(f"traceparent {headers.get('traceparent')!r} is not valid")
                continue
            trace_id, span_id, flags = matched.groups()
            spans.append(span_id)
            found += self._of_one(trace_id, span_id, int(flags, 16), headers.get("tracestate"))
        if len(set(spans)) != len(spans):
            found.append("two messages have the same parent-id")
        return found

    def _of_one(self, trace_id: str, span_id: str, flags: int, state: Any) -> list[str]:
        found: list[str] = []
        given = " ".join(value for _, value in self.headers)
        if self.trace == "continued" and trace_id != self.trace_id:
            found.append(f"trace-id {trace_id} does not continue {self.trace_id}")
        if self.trace == "new" and any(trace_id in ids or ids in trace_id for ids in _IDS.findall(given)):
            found.append(f"trace-id {trace_id} is that of a traceparent which does not count")
        if span_id in given:
            found.append(f"parent-id {span_id} is the one that came in")
        if self.random is not None and bool(flags & _RANDOM) is not self.random:
            found.append(f"random flag is {'' if flags & _RANDOM else 'not '}set in {flags:02x}")
        if self.state is not None and state_entries(state) != self.state:
            found.append(f"tracestate {state!r} is not {dict(self.state)!r}")
        return found


@dataclass(frozen=True, slots=True)
class Case:
    """A requirement of a standard: `section` of it, what `holds` in one sentence, and the probes that show it."""

    name: str
    section: str
    holds: str
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a case gave: it passed when there are no `breaches`."""

    case: Case
    breaches: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not self.breaches


def state_entries(header: object) -> tuple[tuple[str, str], ...]:
    """Return the entries of a tracestate header that a message carries, `()` for none."""
    if not isinstance(header, str) or not header:
        return ()
    pairs = (member.strip(" \t").partition("=") for member in header.split(","))
    return tuple((key, value) for key, _, value in pairs if key)
