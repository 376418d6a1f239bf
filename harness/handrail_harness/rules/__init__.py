"""Is a run one unified trace tree, and does it keep the invariants? Named, over the forest; every breach of the tree
told as the fault behind it.
"""

from __future__ import annotations

from handrail_harness.rules.base import NAMES, Breach, Invariant, InvariantName, refuse_unknown
from handrail_harness.rules.check import check, examine_run
from handrail_harness.rules.facts import Facts
from handrail_harness.rules.reading import RunReader, RunSpans, find_trace, read_run
from handrail_harness.rules.report import Report
from handrail_harness.rules.settle import Clue, Condition, Settled, settle, settled
from handrail_harness.rules.table import INVARIANTS, UNIFYING, breaches_of
from handrail_harness.rules.waivers import Waiver, waive

__all__ = [
    "INVARIANTS",
    "NAMES",
    "UNIFYING",
    "Breach",
    "Clue",
    "Condition",
    "Facts",
    "Invariant",
    "InvariantName",
    "Report",
    "RunReader",
    "RunSpans",
    "Settled",
    "Waiver",
    "breaches_of",
    "check",
    "examine_run",
    "find_trace",
    "read_run",
    "refuse_unknown",
    "settle",
    "settled",
    "waive",
]
