"""What an invariant is: its name, what it says of every run, whether more spans can mend a breach of it, its check.

One page a name in docs/invariants/. The checks themselves are in the files beside this one, the list of all in
`table`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from handrail_harness.printable import printable
from handrail_harness.rules.facts import Facts
from handrail_harness.spans import Span

InvariantName = Literal[
    "one_trace",
    "one_root",
    "no_orphans",
    "unique_span_ids",
    "no_cycles",
    "handoff_received",
    "consumer_has_handoff",
    "handoff_same_message",
    "lineage_agrees",
    "handoff_once",
    "allowed_parent",
    "inside_parent",
    "decision_before_action",
    "no_content_in_attributes",
    "sampled_alike",
    "baggage_arrived",
    "conventions",
]
NAMES: tuple[InvariantName, ...] = get_args(InvariantName)


def refuse_unknown(names: Iterable[str]) -> None:
    """Raise `ValueError` for the name of an invariant that there is not."""
    for name in names:
        if name not in NAMES:
            raise ValueError(f"no invariant is named {name!r}; there are {', '.join(NAMES)}")


Standing = Literal["healing", "final"]
"""`healing`: spans that are still on their way may mend it, so wait. `final`: no span can, so fail now."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One place where an invariant does not hold: the span, what is wrong with it, the spans that show it."""

    invariant: InvariantName
    span: Span
    detail: str
    standing: Standing
    evidence: tuple[Span, ...] = ()

    def __str__(self) -> str:
        return f"{self.invariant}: {printable(self.span.full_name, 80)} ({self.span.span_id}) {self.detail}"

    def document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "invariant": self.invariant,
            "trace_id": self.span.trace_id,
            "span_id": self.span.span_id,
            "detail": self.detail,
            "standing": self.standing,
            "evidence_span_ids": list(dict.fromkeys(span.span_id for span in self.evidence)),
        }


@dataclass(frozen=True, slots=True)
class Place:
    """A breach as a check yields it; the table adds the name, and the standing where the check leaves it open."""

    span: Span
    detail: str
    evidence: tuple[Span, ...] = ()
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Invariant:
    """One row of the table. `unifies`: it has part in the verdict of `check`, "one unified tree"."""

    name: InvariantName
    statement: str
    standing: Standing
    unifies: bool
    check: Callable[[Facts], Iterable[Place]]

    def breaches(self, facts: Facts) -> list[Breach]:
        """Return every place where it does not hold, earliest span first."""
        return [
            Breach(self.name, place.span, place.detail, place.standing or self.standing, place.evidence)
            for place in sorted(self.check(facts), key=_by_start)
        ]


def _by_start(place: Place) -> tuple[int, str, str, str]:
    return (place.span.start_unix_nano, place.span.trace_id, place.span.span_id, place.detail)
