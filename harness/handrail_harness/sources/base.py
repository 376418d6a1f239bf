"""The interface of every source of spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from handrail_harness.sizes import RunSize
from handrail_harness.spans import LogEvent, Span, TraceSummary


class Source(Protocol):
    """Reads spans as they were exported: never repaired, never de-duplicated, in no particular order.

    Every method raises `SourceError` when the source cannot be read.
    """

    @property
    def name(self) -> str:
        """How a person names this source, such as `jaeger:http://127.0.0.1:16686`."""
        ...

    def spans(self, trace_id: str) -> Sequence[Span]:
        """Return the spans of one trace (32 lower-case hex digits); empty when the source has none (yet)."""
        ...

    def events(self, trace_id: str) -> Sequence[LogEvent]:
        """Return the log-based events of one trace; empty where the source keeps no logs."""
        ...

    def traces_of_run(self, run_id: str) -> Sequence[str]:
        """Return the ids of all traces that have a span with this `agent.run.id`."""
        ...

    def traces_of_root(self, root_id: str) -> Sequence[str]:
        """Return the ids of all traces that have a span with this `agent.message.root_id`, Celery's lineage."""
        ...

    def traces(self, limit: int = 20) -> Sequence[TraceSummary]:
        """Return the latest traces, newest first."""
        ...

    def size_of(
        self, trace_ids: Sequence[str], run_ids: Sequence[str], root_ids: Sequence[str]
    ) -> RunSize | None:
        """Return how much there is of a run now, without reading it; `None` where that is not told cheaply.

        Spans and events are those of `trace_ids`; traces are these, those of `run_ids` (see `traces_of_run`) and
        those of `root_ids` (see `traces_of_root`).
        """
        ...

    def close(self) -> None:
        """Release connections and files."""
        ...
