"""Which trace is meant, and every span of its run: from a trace id, a prefix of one, a run id, or nothing
at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from handrail_harness.errors import TraceNotFound
from handrail_harness.printable import printable
from handrail_harness.sizes import RunSize
from handrail_harness.sources.base import Source
from handrail_harness.spans import LogEvent, Span
from handrail_propagation.conventions import MESSAGE_ROOT_ID, RUN_ID

_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_PREFIX = re.compile(r"[0-9a-f]{1,31}")
_PREFIX_SEARCH = 1000
_RUNS_MAX = 20
"""A trace is looked up in at most this many runs: a hostile one names a run a span."""
_ID_MAX = 1000
"""Characters of an id that is looked up; what is longer is none, and no source need be able to take it."""


@dataclass(frozen=True, slots=True)
class RunSpans:
    """Everything a source has of one run: `trace_id` is the trace asked for, `trace_ids` all that the run
    is in.
    """

    source: str
    trace_id: str
    run_id: str
    trace_ids: tuple[str, ...]
    spans: tuple[Span, ...]
    events: tuple[LogEvent, ...]


def read_run(source: Source, trace: str | None = None) -> RunSpans:
    """Read the run that a trace belongs to, with all of its traces: those of its run ids and of Celery's lineage.

    `trace` is a trace id, an unambiguous prefix of one, a run id, or `None` for the latest trace. Raises
    `TraceNotFound` when nothing of that name is there, `SourceError` when the source cannot be read.
    """
    return RunReader(source, trace).read()


class RunReader:
    """Reads one run as often as it is asked to, see `read_run`; from its source only what may have grown since."""

    def __init__(self, source: Source, trace: str | None = None) -> None:
        self._source = source
        self._trace = trace
        self._read: RunSpans | None = None
        self._names: tuple[Sequence[str], Sequence[str], Sequence[str]] | None = None

    def read(self) -> RunSpans:
        """Return everything that there is of the run: the same object as before where nothing has come since."""
        if self._read is None or not self._unchanged(self._read):
            self._read = self._names = None
            self._read = self._read_all()
        return self._read

    def _unchanged(self, run: RunSpans) -> bool:
        """Whether the source has exactly what was read; compared by number, so that what came meanwhile counts."""
        if self._names is None:
            return False
        was = RunSize(len(run.trace_ids), len(run.spans), len(run.events))
        return self._source.size_of(*self._names) == was

    def _read_all(self) -> RunSpans:
        source = self._source
        trace_id, found = _find(source, self._trace)
        spans: dict[str, Sequence[Span]] = {trace_id: source.spans(trace_id) if found is None else found}
        if not spans[trace_id]:
            raise TraceNotFound(
                f"{source.name} has no trace {trace_id}; was it exported, and is the id right?"
            )
        runs = _texts(spans[trace_id], RUN_ID)
        # A branch that lost its baggage as well has no run id; Celery's lineage travels apart from both.
        roots = _texts(spans[trace_id], MESSAGE_ROOT_ID)
        others = [other for run_id in runs for other in source.traces_of_run(run_id)]
        others += [other for root_id in roots for other in source.traces_of_root(root_id)]
        for other in others:
            if other not in spans:
                spans[other] = source.spans(other)
        read = [trace_id, *sorted(other for other in spans if other != trace_id and spans[other])]
        if found is not None:  # a name of another kind may mean another trace as soon as that has come
            self._names = (read, runs, roots)
        return RunSpans(
            source=source.name,
            trace_id=trace_id,
            run_id=runs[0] if runs else "",
            trace_ids=tuple(read),
            spans=tuple(span for one in read for span in spans[one]),
            events=tuple(event for one in read for event in source.events(one)),
        )


def _texts(spans: Sequence[Span], attribute: str) -> list[str]:
    """Return the different values of an attribute, in order, as many as are looked up, and as long as an id may be."""
    texts = dict.fromkeys(span.text(attribute) for span in spans)
    return list(islice((text for text in texts if 0 < len(text) <= _ID_MAX), _RUNS_MAX))


def find_trace(source: Source, trace: str | None) -> str:
    """Return the id of the trace that is meant; raises `TraceNotFound`."""
    return _find(source, trace)[0]


def _find(source: Source, trace: str | None) -> tuple[str, Sequence[Span] | None]:
    """Return the id of the trace that is meant, with its spans where they had to be read for it."""
    if trace is None:
        latest = source.traces(1)
        if not latest:
            raise TraceNotFound(
                f"{source.name} holds no trace yet; start one with `handrail demo`, or name another source"
            )
        return latest[0].trace_id, None
    wanted = trace.strip()
    if not wanted:
        raise TraceNotFound("an empty trace id; leave it out for the latest trace")
    lowered = wanted.lower()
    if _TRACE_ID.fullmatch(lowered) and (spans := source.spans(lowered)):
        return lowered, spans
    of_run = source.traces_of_run(wanted)
    if of_run:
        return _earliest(source, of_run), None
    if _PREFIX.fullmatch(lowered):
        matches = [one.trace_id for one in source.traces(_PREFIX_SEARCH) if one.trace_id.startswith(lowered)]
        if len(matches) == 1:
            return matches[0], None
        if matches:
            raise TraceNotFound(
                f"{wanted} is the beginning of {len(matches)} traces in {source.name}, such as "
                f"{' and '.join(sorted(matches)[:2])}; give more digits"
            )
    raise TraceNotFound(
        f"{source.name} has no trace or run {printable(wanted, 64)}; `handrail traces` lists what is there"
    )


def _earliest(source: Source, trace_ids: Sequence[str]) -> str:
    def start(trace_id: str) -> tuple[int, str]:
        return (min((span.start_unix_nano for span in source.spans(trace_id)), default=0), trace_id)

    return trace_ids[0] if len(trace_ids) == 1 else min(trace_ids, key=start)
