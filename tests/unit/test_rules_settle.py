"""Settling: on closure and never on a number of spans; what is open is said, and since when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from handrail_harness.errors import TraceNotFound
from handrail_harness.rules import UNIFYING, RunReader, read_run, settle, settled, waive
from handrail_harness.sizes import RunSize
from handrail_harness.sources.memory import MemorySource
from handrail_harness.spans import LogEvent, Span
from handrail_harness.strategies import Topology, run_of
from handrail_harness.strategies.finding_faults import worker_without_tracing
from handrail_harness.strategies.invariant_faults import attribute_missing, status_ok
from handrail_propagation.conventions import MESSAGE_ROOT_ID, RUN_ID

from .support.runs import cleanup_run

TRACE = f"{1:032x}"


class ArrivingSource(MemorySource):
    """A source that has more at every question: first nothing, then each batch on top of those before."""

    def __init__(self, *batches: Sequence[Span]) -> None:
        super().__init__([])
        self._batches = list(batches)
        self.there: list[Span] = []

    def size_of(self, *names: Sequence[str]) -> RunSize | None:
        return None  # of what overrides the rest, this class cannot tell

    def spans(self, trace_id: str) -> Sequence[Span]:
        return [span for span in self.there if span.trace_id == trace_id]

    def traces_of_run(self, run_id: str) -> Sequence[str]:
        # Asked once a look, last of all: what comes next is there at the next look.
        found = list(dict.fromkeys(span.trace_id for span in self.there))
        self.there += self._batches.pop(0) if self._batches else []
        return found


class CountingSource(MemorySource):
    """Counts how often the run is read; as soon as it has been for the first time, `later` comes."""

    def __init__(
        self, spans: Sequence[Span], later: Callable[[MemorySource], None] = lambda source: None
    ) -> None:
        super().__init__(spans)
        self.reads = 0
        self._later = later

    def events(self, trace_id: str) -> Sequence[LogEvent]:
        found = super().events(trace_id)  # the last thing that is read
        self.reads += trace_id == TRACE
        if self.reads == 1:
            self._later(self)
        return found


def first(choices: Sequence[Span]) -> Span:
    return choices[0]


def test_a_run_that_arrives_in_parts_is_closed_when_all_is_there() -> None:
    """Sends before receipts, children before parents: only when nothing is open does the wait end."""
    spans = run_of(Topology(delegates=(Topology(delegates=(Topology(),), parks=True),))).spans
    by_end = sorted(spans, key=lambda span: span.end_unix_nano)
    third = len(by_end) // 3
    source = ArrivingSource(by_end[:third], by_end[third : 2 * third], by_end[2 * third :])
    settled = settle(source, TRACE, deadline=20, quiet=0.1)
    assert settled.closed
    assert settled.report.sound
    assert len(settled.report.forest.spans) == len(spans)
    assert settled.explain() == ""


def test_quiet_is_waited_for() -> None:
    """A tree that looks whole is looked at again until nothing new has come for the quiet time."""
    spans = cleanup_run().spans
    late = replace(spans[-1], span_id="00000000000000aa")
    source = ArrivingSource(spans, [late])
    settled = settle(source, TRACE, deadline=20, quiet=0.3)
    assert settled.closed
    assert settled.waited >= 0.3
    assert late in settled.report.forest.spans


def test_what_is_open_is_named_with_its_time() -> None:
    """At the deadline: the condition, the span that keeps it open, and for how long it has been."""
    spans, _, send = worker_without_tracing(cleanup_run().spans, first)
    settled = settle(MemorySource(spans), TRACE, deadline=0.5, quiet=0.1)
    assert settled.ended_by == "deadline"
    (condition,) = settled.open_conditions
    assert condition.name == "handoffs_received"
    assert send in condition.detail
    assert 0.5 <= condition.open_for <= settled.waited + 1
    assert f"handoffs_received: send cleaner ({send}) not received, for" in settled.explain()


def test_a_parent_that_has_not_ended_is_open() -> None:
    """A child whose parent is not exported (yet) says that something is still at work, or lost."""
    spans = cleanup_run().spans
    root = spans[0]
    settled = settle(MemorySource(spans[1:]), TRACE, deadline=0.2, quiet=0.05)
    assert [condition.name for condition in settled.open_conditions] == ["root_ended", "parents_ended"]
    assert f"{root.span_id} (above send cleaner)" in settled.explain()


def test_nothing_at_all_is_a_condition_too() -> None:
    """A run that was asked for by name and of which nothing came is told as such, with the clues."""
    settled = settle(MemorySource([]), TRACE, deadline=0.2, clues={"queue lengths": lambda: ["cleaner: 1"]})
    assert [condition.name for condition in settled.open_conditions] == ["arrived"]
    assert settled.clues == {"queue lengths": ("cleaner: 1",)}
    assert "cleaner: 1" in settled.explain()
    assert not settled.report.unified


def test_the_latest_of_nothing_is_not_found() -> None:
    """Where no run is named and none is there, there is nothing to report on."""
    with pytest.raises(TraceNotFound):
        settle(MemorySource([]), None, deadline=0.1)


def test_a_final_breach_ends_the_wait_at_once() -> None:
    """What no further span can mend is not waited for, however much is still open."""
    spans, _, _ = worker_without_tracing(cleanup_run().spans, first)
    broken, name, span_id = status_ok(spans, first)
    settled = settle(MemorySource(broken), TRACE, deadline=60)
    assert settled.ended_by == "final_breach"
    assert [(one.invariant, one.span.span_id) for one in settled.final_breaches] == [(name, span_id)]
    assert [condition.name for condition in settled.open_conditions] == ["handoffs_received", "quiet"]
    assert "conventions: status is OK" in settled.explain()


def test_a_final_breach_may_wait_for_what_explains_it() -> None:
    """With a grace the wait ends as soon as nothing new comes, or at its end, and not when the run is closed."""
    spans, _, _ = worker_without_tracing(cleanup_run().spans, first)
    broken, _, _ = status_ok(spans, first)
    quiet = settle(MemorySource(broken), TRACE, deadline=60, quiet=0.2, grace=30)
    assert quiet.ended_by == "final_breach"
    assert 0.2 <= quiet.waited < 30
    assert [condition.name for condition in quiet.open_conditions] == ["handoffs_received"]
    restless = settle(MemorySource(broken), TRACE, deadline=60, quiet=30, grace=0.2)
    assert 0.2 <= restless.waited < 30
    assert [condition.name for condition in restless.open_conditions] == ["handoffs_received", "quiet"]


@pytest.mark.parametrize(
    "options",
    [{"invariants": UNIFYING}, {"waivers": [waive("conventions", reason="an exporter of another team")]}],
    ids=["not asked for", "waived"],
)
def test_a_breach_that_is_accepted_ends_no_wait(options: dict[str, object]) -> None:
    """Invariants that the caller does not ask for, and waived breaches, do not keep a run from closing."""
    broken, _, _ = attribute_missing(cleanup_run().spans, first)
    assert settle(MemorySource(broken), TRACE, deadline=20, quiet=0.1, **options).closed  # type: ignore[arg-type]


def test_a_clue_that_fails_hides_no_other() -> None:
    """A queue that cannot be asked is said; the worker's last lines are still there."""

    def broken() -> list[str]:
        raise ConnectionError("no broker")

    clues: dict[str, Callable[[], list[str]]] = {"queues": broken, "worker ops": lambda: ["exit code 1"]}
    told = settle(MemorySource([]), TRACE, deadline=0, clues=clues).clues
    assert told["queues"] == ("could not be asked: ConnectionError: no broker",)
    assert told["worker ops"] == ("exit code 1",)


def test_what_has_not_grown_is_read_once() -> None:
    """However long a run is waited for: while its source says that nothing has come, nothing is read again."""
    spans, _, _ = worker_without_tracing(cleanup_run().spans, first)
    source = CountingSource(spans)
    assert settle(source, TRACE, deadline=0.5, quiet=0.1).ended_by == "deadline"
    assert source.reads == 1
    assert not settled(source, TRACE, wait=0.5).unified
    assert source.reads == 2


def test_a_name_that_may_come_to_mean_another_trace_is_looked_up_again() -> None:
    """A run id, or no name at all, is asked for anew each time."""
    spans = cleanup_run().spans
    source = CountingSource(spans)
    assert settle(source, None, deadline=20, quiet=0.3).closed
    assert source.reads > 1


ELSEWHERE = f"{2:032x}"


@pytest.mark.parametrize(
    "later",
    [
        lambda source, span: source.add([replace(span, span_id="00000000000000aa")]),
        lambda source, span: source.add([span]),
        lambda source, span: source.add(events=[LogEvent(TRACE, span.span_id, "agent.decision", 1, {}, {})]),
        lambda source, span: source.add([torn(span, {RUN_ID: span.text(RUN_ID)})]),
        lambda source, span: source.add([torn(span, {MESSAGE_ROOT_ID: span.text(MESSAGE_ROOT_ID)})]),
    ],
    ids=["late span", "span again", "late event", "another trace of the run", "another trace of the lineage"],
)
def test_whatever_comes_after_the_first_look_is_seen(later: Callable[[MemorySource, Span], None]) -> None:
    """Also what comes between the reading and the asking how much there is."""
    spans = cleanup_run().spans
    receipt = next(span for span in spans if span.text(RUN_ID) and span.text(MESSAGE_ROOT_ID))
    source = CountingSource(spans, lambda source: later(source, receipt))
    reader = RunReader(source, TRACE)
    settle(source, TRACE, deadline=20, quiet=0.2, invariants=(), reader=reader)
    everything = read_run(source, TRACE)
    found = reader.read()
    assert (found.trace_ids, found.spans, found.events) == (
        everything.trace_ids,
        everything.spans,
        everything.events,
    )
    assert len(found.spans) + len(found.events) > len(spans)


def torn(span: Span, attributes: dict[str, str]) -> Span:
    """The same work at the top of another trace."""
    return replace(span, trace_id=ELSEWHERE, parent_span_id="", attributes=attributes)
