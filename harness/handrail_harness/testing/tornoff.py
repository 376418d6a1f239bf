"""Branches that were torn off a run and left nothing that leads to it: found by the ids of messages.

The stock instrumentation records no lineage, so what follows a lost header is no part of the run's report. It is
looked for in the latest traces when a test has failed, and never added to the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from handrail_harness.rules.handoffs import message_id_of

if TYPE_CHECKING:
    from handrail_harness.rules import Settled
    from handrail_harness.spans import LogEvent, Span
    from handrail_harness.testing.surroundings import Surroundings

_SENDS, _BRANCHES = 50, 4


@dataclass(frozen=True, slots=True)
class Branch:
    """A trace that a hand-off of a run is in: its `send` there, its `receipt` here, and everything of this trace."""

    send: Span
    receipt: Span
    spans: tuple[Span, ...]
    events: tuple[LogEvent, ...]

    @property
    def trace_id(self) -> str:
        """The branch's own trace."""
        return self.receipt.trace_id


def torn_off(settled: Settled, around: Surroundings) -> list[Branch]:
    """Return the first few branches, one for each trace; a run that was left before its end has none yet."""
    report = settled.report
    lost = report.handoffs.lost_sends[:_SENDS] if settled.ended_by != "final_breach" else ()
    elsewhere = around.receipts_elsewhere(report.trace_ids) if lost else {}
    found: dict[str, Branch] = {}
    for send in lost:
        receipt = elsewhere.get(message_id_of(send))
        if receipt is not None and receipt.trace_id not in found and len(found) < _BRANCHES:
            spans, events = around.trace(receipt.trace_id)
            found[receipt.trace_id] = Branch(send, receipt, spans, events)
    return list(found.values())
