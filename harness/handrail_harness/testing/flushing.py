"""A source that first sends what this process has collected: a test never waits for its own spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from handrail_harness.testing.collector import Collector

if TYPE_CHECKING:
    from handrail_harness.sizes import RunSize
    from handrail_harness.sources.base import Source
    from handrail_harness.spans import LogEvent, Span, TraceSummary


class FlushingSource:
    """The stack's source, with the spans of this process in it."""

    def __init__(self, source: Source, collector: Collector) -> None:
        self._source = source
        self._collector = collector

    @property
    def name(self) -> str:
        """The stack's source's name."""
        return self._source.name

    def spans(self, trace_id: str) -> Sequence[Span]:
        """As the stack's source."""
        self._collector.flush()
        return self._source.spans(trace_id)

    def events(self, trace_id: str) -> Sequence[LogEvent]:
        """As the stack's source."""
        self._collector.flush()
        return self._source.events(trace_id)

    def traces_of_run(self, run_id: str) -> Sequence[str]:
        """As the stack's source."""
        self._collector.flush()
        return self._source.traces_of_run(run_id)

    def traces_of_root(self, root_id: str) -> Sequence[str]:
        """As the stack's source."""
        self._collector.flush()
        return self._source.traces_of_root(root_id)

    def traces(self, limit: int = 20) -> Sequence[TraceSummary]:
        """As the stack's source."""
        self._collector.flush()
        return self._source.traces(limit)

    def size_of(
        self, trace_ids: Sequence[str], run_ids: Sequence[str], root_ids: Sequence[str]
    ) -> RunSize | None:
        """As the stack's source."""
        self._collector.flush()
        return self._source.size_of(trace_ids, run_ids, root_ids)

    def close(self) -> None:
        """Close the stack's source."""
        self._source.close()
