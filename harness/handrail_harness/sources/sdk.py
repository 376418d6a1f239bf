"""Spans of this process, straight from the OpenTelemetry SDK: a list of them, or what an in-memory exporter holds.

They go through the SDK's own OTLP encoding, so that they read exactly as they would have after an export.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from handrail_harness.otlp import spans_of
from handrail_harness.sizes import RunSize
from handrail_harness.sources.memory import MemorySource
from handrail_harness.spans import LogEvent, Span, TraceSummary

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class SDKSource:
    """What an `InMemorySpanExporter` has at the time of each question, or a list of finished spans.

    Finished spans only: one without an end is not exported, and its children are orphans until it is.
    """

    name = "sdk"

    def __init__(self, spans: InMemorySpanExporter | Iterable[ReadableSpan]) -> None:
        self._given = spans if hasattr(spans, "get_finished_spans") else tuple(spans)

    def spans(self, trace_id: str) -> Sequence[Span]:
        """Return the spans of one trace."""
        return self._now().spans(trace_id)

    def events(self, trace_id: str) -> Sequence[LogEvent]:
        """Return nothing: log-based events are another exporter's."""
        return []

    def traces_of_run(self, run_id: str) -> Sequence[str]:
        """Return the ids of all traces that have a span with this `agent.run.id`."""
        return self._now().traces_of_run(run_id)

    def traces_of_root(self, root_id: str) -> Sequence[str]:
        """Return the ids of all traces that have a span with this `agent.message.root_id`."""
        return self._now().traces_of_root(root_id)

    def traces(self, limit: int = 20) -> Sequence[TraceSummary]:
        """Return the latest traces, newest first."""
        return self._now().traces(limit)

    def size_of(
        self, trace_ids: Sequence[str], run_ids: Sequence[str], root_ids: Sequence[str]
    ) -> RunSize | None:
        """Return nothing: an exporter's list may be cleared and filled again."""
        return None

    def close(self) -> None:
        """Nothing is held open."""

    def _now(self) -> MemorySource:
        given = self._given if isinstance(self._given, tuple) else self._given.get_finished_spans()
        return MemorySource(spans_of(encode_spans([span for span in given if span.end_time is not None])))
