"""Is a run one unified trace tree? Named rules over the forest; every breach told as the fault behind it."""

from __future__ import annotations

from handrail_harness.rules.check import check, examine_run
from handrail_harness.rules.reading import RunSpans, find_trace, read_run
from handrail_harness.rules.report import Report
from handrail_harness.rules.settle import settled

__all__ = ["Report", "RunSpans", "check", "examine_run", "find_trace", "read_run", "settled"]
