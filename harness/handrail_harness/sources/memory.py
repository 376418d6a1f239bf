"""Spans that are in memory already, as a source: of a test, of a file, of the SDK's own exporter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from handrail_harness.sources.summaries import group_by_trace, summarize
from handrail_harness.spans import LogEvent, Span, TraceSummary
from handrail_propagation.conventions import MESSAGE_ROOT_ID, RUN_ID


class MemorySource:
    """A source over spans and log events that somebody else has read."""

    def __init__(
        self, spans: Iterable[Span], events: Iterable[LogEvent] = (), *, name: str = "memory"
    ) -> None:
        self.name = name
        self._spans = group_by_trace(spans)
        self._events: dict[str, list[LogEvent]] = {}
        for event in events:
            self._events.setdefault(event.trace_id, []).append(event)

    def spans(self, trace_id: str) -> Sequence[Span]:
        """Return the spans of one trace, in the order in which they were given."""
        return self._spans.get(trace_id, [])

    def events(self, trace_id: str) -> Sequence[LogEvent]:
        """Return the log-based events of one trace."""
        return self._events.get(trace_id, [])

    def traces_of_run(self, run_id: str) -> Sequence[str]:
        """Return the ids of all traces that have a span with this `agent.run.id`."""
        return self._traces_with(RUN_ID, run_id)

    def traces_of_root(self, root_id: str) -> Sequence[str]:
        """Return the ids of all traces that have a span with this `agent.message.root_id`."""
        return self._traces_with(MESSAGE_ROOT_ID, root_id)

    def traces(self, limit: int = 20) -> Sequence[TraceSummary]:
        """Return the latest traces, newest first."""
        return summarize((span for spans in self._spans.values() for span in spans), limit)

    def close(self) -> None:
        """Nothing is held open."""

    def _traces_with(self, attribute: str, value: str) -> list[str]:
        return [
            trace_id
            for trace_id, spans in self._spans.items()
            if any(span.text(attribute) == value for span in spans)
        ]
