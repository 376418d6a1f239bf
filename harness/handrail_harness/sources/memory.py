"""Spans that are in memory already, as a source: of a test, of a file, of the SDK's own processors."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from handrail_harness.sizes import RunSize
from handrail_harness.sources.summaries import summarize
from handrail_harness.spans import LogEvent, Span, TraceSummary
from handrail_propagation.conventions import MESSAGE_ROOT_ID, RUN_ID


class MemorySource:
    """Grows while it is read; every method may be called from any thread. Starts with what is given."""

    def __init__(
        self, spans: Iterable[Span] = (), events: Iterable[LogEvent] = (), *, name: str = "memory"
    ) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._spans: dict[str, list[Span]] = {}
        self._events: dict[str, list[LogEvent]] = {}
        self._traces: dict[tuple[str, str], dict[str, None]] = {}
        self.add(spans, events)

    def add(self, spans: Iterable[Span] = (), events: Iterable[LogEvent] = ()) -> None:
        """Take spans and events in, as they are."""
        with self._lock:
            for span in spans:
                self._spans.setdefault(span.trace_id, []).append(span)
                for attribute in (RUN_ID, MESSAGE_ROOT_ID):
                    if value := span.text(attribute):
                        self._traces.setdefault((attribute, value), {})[span.trace_id] = None
            for event in events:
                self._events.setdefault(event.trace_id, []).append(event)

    def spans(self, trace_id: str) -> Sequence[Span]:
        """Return the spans of one trace in the order of their arrival."""
        with self._lock:
            return list(self._spans.get(trace_id, ()))

    def events(self, trace_id: str) -> Sequence[LogEvent]:
        """Return the log-based events of one trace."""
        with self._lock:
            return list(self._events.get(trace_id, ()))

    def traces_of_run(self, run_id: str) -> Sequence[str]:
        """Return the ids of all traces that have a span with this `agent.run.id`."""
        return self._traces_with(RUN_ID, run_id)

    def traces_of_root(self, root_id: str) -> Sequence[str]:
        """Return the ids of all traces that have a span with this `agent.message.root_id`."""
        return self._traces_with(MESSAGE_ROOT_ID, root_id)

    def traces(self, limit: int = 20) -> Sequence[TraceSummary]:
        """Return the latest traces, newest first."""
        with self._lock:
            return summarize((span for spans in self._spans.values() for span in spans), limit)

    def size_of(
        self, trace_ids: Sequence[str], run_ids: Sequence[str], root_ids: Sequence[str]
    ) -> RunSize | None:
        """Return how much there is of a run now."""
        named = [(RUN_ID, one) for one in run_ids] + [(MESSAGE_ROOT_ID, one) for one in root_ids]
        with self._lock:
            return RunSize(
                traces=len(
                    {one for one in trace_ids if one in self._spans}.union(
                        *(self._traces.get(name, {}) for name in named)
                    )
                ),
                spans=sum(len(self._spans.get(one, ())) for one in trace_ids),
                events=sum(len(self._events.get(one, ())) for one in trace_ids),
            )

    def close(self) -> None:
        """Nothing is held open."""

    def _traces_with(self, attribute: str, value: str) -> list[str]:
        with self._lock:
            return list(self._traces.get((attribute, value), ()))
