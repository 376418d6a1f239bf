"""Made-up runs for property-based tests: delegation topologies for hypothesis, and faults that break them in one place.

For whoever writes an invariant, a detector or a source. Needs `hypothesis`, which no extra of Handrail brings.
"""

from __future__ import annotations

from handrail_harness.strategies.builder import RunBuilder, Sent
from handrail_harness.strategies.edits import Broken, Fault
from handrail_harness.strategies.finding_faults import FAULTS
from handrail_harness.strategies.invariant_faults import INVARIANT_FAULTS
from handrail_harness.strategies.topologies import Topology, run_of, runs, topologies

__all__ = [
    "FAULTS",
    "INVARIANT_FAULTS",
    "Broken",
    "Fault",
    "RunBuilder",
    "Sent",
    "Topology",
    "run_of",
    "runs",
    "topologies",
]
