"""The answer of `check`: the facts of the forest, which rules hold, and the findings that explain each
breach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handrail_harness.findings.base import Finding
from handrail_harness.forest import Forest
from handrail_harness.rules.base import Breach, InvariantName
from handrail_harness.rules.handoffs import Handoffs, message_id_of
from handrail_harness.rules.lineage import Disagreement
from handrail_harness.rules.table import INVARIANTS, UNIFYING
from handrail_harness.rules.waivers import Waiver
from handrail_harness.spans import Span
from handrail_propagation.conventions import MESSAGING_DESTINATION_NAME


@dataclass(frozen=True, slots=True)
class Report:
    """One run, examined. `breaches` are of every invariant, in the order of the table, each by start of span.

    Breaches that a waiver excuses are in `excused` instead; `unused_waivers` excused nothing.
    """

    source: str
    trace_id: str
    run_id: str
    trace_ids: tuple[str, ...]
    forest: Forest
    handoffs: Handoffs
    disagreements: tuple[Disagreement, ...]
    findings: tuple[Finding, ...]
    breaches: tuple[Breach, ...]
    excused: tuple[tuple[Breach, Waiver], ...] = ()
    unused_waivers: tuple[Waiver, ...] = ()

    @property
    def rules(self) -> dict[InvariantName, int]:
        """The invariants that make up "one unified tree", each with the number of places where it is broken."""
        return {name: len(self.breaches_of(name)) for name in UNIFYING}

    @property
    def unified(self) -> bool:
        """Whether all spans of the run are one tree in which every hand-off arrived under its send."""
        return bool(self.forest.spans) and not any(INVARIANTS[one.invariant].unifies for one in self.breaches)

    @property
    def sound(self) -> bool:
        """Whether every invariant holds, and every waiver was needed."""
        return bool(self.forest.spans) and not self.breaches and not self.unused_waivers

    @property
    def final_breaches(self) -> tuple[Breach, ...]:
        """The breaches that no further span can mend."""
        return tuple(breach for breach in self.breaches if breach.standing == "final")

    def breaches_of(self, name: InvariantName) -> tuple[Breach, ...]:
        """Return where one invariant is broken."""
        return tuple(breach for breach in self.breaches if breach.invariant == name)

    def problems(self) -> list[str]:
        """Return one line for each breach and each waiver that was not needed."""
        return [str(one) for one in self.breaches] + [
            f"unused waiver of {waiver}" for waiver in self.unused_waivers
        ]

    def tree(self) -> dict[str, Any]:
        """Return the numbers of the tree: `spans`, `traces`, `roots`, `orphans`, `unified`."""
        return {
            "spans": len(self.forest.spans),
            "traces": len(self.trace_ids),
            "roots": len(self.forest.roots),
            "orphans": len(self.forest.orphans),
            "unified": self.unified,
        }

    def document(self) -> dict[str, Any]:
        """Return the whole report as JSON values."""
        return {
            "source": self.source,
            "trace_id": self.trace_id,
            "run_id": self.run_id or None,
            "unified": self.unified,
            "tree": self.tree(),
            "rules": {name: not broken for name, broken in self.rules.items()},
            "invariants": {
                name: {
                    "holds": not (broken := self.breaches_of(name)),
                    "standing": "final" if any(one.standing == "final" for one in broken) else one_standing,
                    "breaches": [one.document() for one in broken],
                }
                for name, one_standing in ((name, row.standing) for name, row in INVARIANTS.items())
            },
            "traces": list(self.trace_ids),
            "roots": [_place(span) for span in self.forest.roots],
            "orphans": [
                _place(span) | {"parent_span_id": span.parent_span_id} for span in self.forest.orphans
            ],
            "duplicates": [
                _place(twice.copies[0]) | {"copies": len(twice.copies), "identical": twice.identical}
                for twice in self.forest.duplicates
            ],
            "cycles": [[_place(span) for span in loop] for loop in self.forest.loops],
            "broken_handoffs": [handoff.document() for handoff in self.handoffs.broken],
            "handoffs_without_consumer": [_message(span) for span in self.handoffs.unreceived],
            "consumers_without_handoff": [_message(span) for span in self.handoffs.stray],
            "lineage_disagreements": [
                _message(one.consumer)
                | {"attribute": one.attribute, "says": one.says, "tree": one.tree or None}
                for one in self.disagreements
            ]
            + [
                _message(consumer)
                | {
                    "attribute": "messaging.message.id",
                    "says": message_id_of(consumer),
                    "tree": message_id_of(send),
                }
                for send, consumer in self.handoffs.mismatched
            ],
            "findings": [
                {"trace_id": finding.span.trace_id} | finding.document() for finding in self.findings
            ],
        }


def _place(span: Span) -> dict[str, Any]:
    return {"trace_id": span.trace_id, "span_id": span.span_id, "name": span.name}


def _message(span: Span) -> dict[str, Any]:
    return _place(span) | {
        "queue": span.text(MESSAGING_DESTINATION_NAME) or None,
        "message_id": message_id_of(span) or None,
    }
