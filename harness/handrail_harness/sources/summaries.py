"""Lists of traces for sources that only give spans: grouped, summed up, newest first."""

from __future__ import annotations

from collections.abc import Iterable

from handrail_harness.spans import Span, TraceSummary
from handrail_propagation.conventions import RUN_ID


def group_by_trace(spans: Iterable[Span]) -> dict[str, list[Span]]:
    """Return the spans by trace id, in the order in which traces first appear."""
    groups: dict[str, list[Span]] = {}
    for span in spans:
        groups.setdefault(span.trace_id, []).append(span)
    return groups


def summarize(spans: Iterable[Span], limit: int) -> list[TraceSummary]:
    """Return one summary a trace, the latest start first, at most `limit`."""
    summaries = [_summary(trace_id, same) for trace_id, same in group_by_trace(spans).items()]
    summaries.sort(key=lambda summary: (-summary.start_unix_nano, summary.trace_id))
    return summaries[:limit]


def _summary(trace_id: str, spans: list[Span]) -> TraceSummary:
    first = min(spans, key=lambda span: (bool(span.parent_span_id), span.start_unix_nano))
    return TraceSummary(
        trace_id=trace_id,
        run_id=next((span.text(RUN_ID) for span in spans if span.text(RUN_ID)), ""),
        root_name=first.name,
        start_unix_nano=min(span.start_unix_nano for span in spans),
        end_unix_nano=max(span.end_unix_nano for span in spans),
        spans=len(spans),
    )
