"""Does a queue carry trace context as the standard says? Cases, their way through a real queue, verdicts."""

from __future__ import annotations

from handrail_harness.conformance.case import Case, Probe, Verdict
from handrail_harness.conformance.exchange import run
from handrail_harness.conformance.w3c import CASES

__all__ = ["CASES", "Case", "Probe", "Verdict", "run"]
