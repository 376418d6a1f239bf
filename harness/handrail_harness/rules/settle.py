"""Waiting for a run to come to rest: its last spans are still on their way when its outcome is known."""

from __future__ import annotations

import time
from typing import Final

from handrail_harness.errors import TraceNotFound
from handrail_harness.rules.check import check
from handrail_harness.rules.report import Report
from handrail_harness.sources.base import Source

_POLL: Final = 0.1  # seconds


def settled(source: Source, trace_id: str | None, *, wait: float) -> Report:
    """Return the report on a run as soon as it is unified, at the latest after `wait` seconds.

    Raises `TraceNotFound` when nothing of it has arrived by then.
    """
    deadline = time.monotonic() + wait
    while True:
        left = deadline - time.monotonic()
        try:
            report = check(source, trace_id)
        except TraceNotFound:
            if left <= 0:
                raise
        else:
            if report.unified or left <= 0:
                return report
        time.sleep(min(_POLL, max(left, 0)))
