"""A run as a test sees it: ids, what came back, its shape, and assertions that wait for it to come to rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from handrail_harness.errors import RunAssertion
from handrail_harness.investigate import Investigation, investigate_run
from handrail_harness.rules import (
    NAMES,
    UNIFYING,
    InvariantName,
    Report,
    RunReader,
    RunSpans,
    Settled,
    Waiver,
    refuse_unknown,
    settle,
    waive,
)
from handrail_harness.shapes.canonical import shape_text
from handrail_harness.shapes.matching import mismatches
from handrail_harness.shapes.steps import Steps, steps_of
from handrail_harness.shapes.words import Shape, forbidden
from handrail_harness.spans import LogEvent, Span
from handrail_harness.testing.queries import Queries

if TYPE_CHECKING:
    from handrail_agents import Job
    from handrail_harness.testing.failure import Failure
    from handrail_harness.testing.session import Handrail
    from handrail_harness.testing.tornoff import Branch


_WAIVED_PATIENCE = 2.0  # seconds
_GRACE = 2.0  # seconds that a breach may wait for spans which say why


class Run(Queries, AbstractContextManager["Run"]):
    """One run. `trace_id` is 32 hex digits, known before the run is over; `run_id` that of an agents' run, or `""`.

    What asks about the run waits until it has come to rest, at most `patience` seconds, and then looks at all of
    it; more spans that come later are seen by the next question. `returned` is what the function of
    `handrail.run(function)` returned, `job` what `ops.send` gave.
    """

    def __init__(self, session: Handrail, title: str, *, patience: float) -> None:
        self.title = title
        self.trace_id = ""
        self.run_id = ""
        self.patience = patience
        self.job: Job | None = None
        self.returned: Any = None
        self._session = session
        self._waivers: list[Waiver] = []
        self._settled: Settled | None = None
        self._reader: RunReader | None = None
        self._investigation: Investigation | None = None
        self._steps: Steps | None = None
        self._leave: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<Run {self.title!r} trace {self.trace_id or '(not begun)'}>"

    # --- What became of it ---

    def result(self, timeout: float = 30.0) -> Any:
        """Wait for the outcome (`Done`, `Waiting`, ...) or, of a Celery task, for its return value.

        Raises `TimeoutError` after `timeout` seconds, and what the task raised.
        """
        if self.job is not None:
            return self.job.result(timeout=timeout)
        if hasattr(self.returned, "get"):
            return self.returned.get(timeout=timeout)
        raise RunAssertion(f"{self!r} has no result to wait for: nothing with get() was returned")

    @property
    def settled(self) -> Settled:
        """How the wait for the run's rest ended, with the report on its tree."""
        return self._look()

    @property
    def report(self) -> Report:
        """The report on the run's tree, as `handrail check` gives it."""
        return self._look().report

    @property
    def investigation(self) -> Investigation:
        """What `handrail investigate` says about the run."""
        self._look()
        if self._investigation is None:
            report = self.report
            self._investigation = investigate_run(
                RunSpans(
                    report.source,
                    report.trace_id,
                    report.run_id,
                    report.trace_ids,
                    report.forest.spans,
                    tuple(self.events),
                )
            )
        return self._investigation

    @property
    def steps(self) -> Steps:
        """The run's agents, tasks, tools and model calls, each inside the one that it was done for."""
        self._look()
        if self._steps is None:
            self._steps = steps_of(self.investigation.view)
        return self._steps

    @property
    def spans(self) -> Sequence[Span]:
        """Every span of the run, as exported."""
        return self.report.forest.spans

    @property
    def events(self) -> Sequence[LogEvent]:
        """Every log-based event of the run."""
        return [event for one in self.report.trace_ids for event in self._session.source.events(one)]

    # --- One unified tree ---

    def waive(
        self, invariant: InvariantName, *, reason: str, where: str | Callable[[Span], bool] | None = None
    ) -> Run:
        """Accept breaches of an invariant, for a reason; a waiver that turns out unneeded fails the test.

        `where` narrows it: a pattern for span names (`send *`) or a function of the span. Raises `ValueError`.
        """
        __tracebackhide__ = True
        self._waivers.append(waive(invariant, reason=reason, where=where))
        self._settled = None
        return self

    def assert_unified(self, invariants: Collection[InvariantName] | None = None) -> Run:
        """Assert that the run is one tree in which every hand-off arrived once, under the span that sent it.

        There must be a hand-off: a run without any proves nothing.

        `invariants` default to all of them for a run of agents, and to those of one unified tree for other
        Celery tasks. The plugin asserts the same after every test for each run that the test used.
        Raises `RunAssertion`, with the tree, and `ValueError` for invariants that are none.
        """
        __tracebackhide__ = True
        if invariants is not None:
            if isinstance(invariants, str) or not invariants:
                raise ValueError(
                    "assert_unified() takes a list of invariants with one at least, or nothing for all"
                )
            refuse_unknown(invariants)
        self._settled = None
        wanted = frozenset(self._default_invariants() if invariants is None else invariants)
        settled = self._look(wanted)
        report = settled.report
        broken = [one for one in report.breaches if one.invariant in wanted]
        at_rest = settled.closed or _waived_rest(settled)
        # A root alone is one tree even where nothing carries trace context.
        handed_off = any(span.kind in ("producer", "consumer") for span in report.forest.spans)
        if at_rest and handed_off and not broken and not report.unused_waivers:
            return self
        raise self._failure().not_unified(settled, broken, report.unused_waivers)

    def _default_invariants(self) -> Sequence[InvariantName]:
        return NAMES if self.job is not None else UNIFYING

    # --- Its shape ---

    def matches(self, *shapes: Shape, in_order: bool = False, exact: bool = False) -> bool:
        """Assert that the run has this shape; return true, or raise `RunAssertion` with the nearest miss.

        Without `exact` there may be more than is listed, without `in_order` siblings may come in any order.
        """
        __tracebackhide__ = True
        if not shapes:
            raise ValueError("run.matches() needs a shape, such as agent('cleaner')")
        for one in shapes:
            if not isinstance(one, Shape):
                raise TypeError(
                    f"run.matches({one!r}): that is no shape; use agent(), handoff(), task(), tool()"
                )
        for shape in forbidden(shapes):
            if unknown := self._unknown_name(shape.kind, shape.name):
                raise RunAssertion(f"{shape} can never be there: {unknown}")
        found = mismatches(shapes, self.steps, in_order=in_order, exact=exact)
        if found:
            raise self._failure().not_of_shape(shapes, found)
        return True

    def shape(self, *, in_order: bool = False) -> str:
        """Return the run's shape as text without ids and times; what the fixture `golden` compares."""
        return shape_text(self.steps, in_order=in_order)

    # --- Beginning and end ---

    def __enter__(self) -> Run:
        self._leave = self._session.enter_root(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._leave is not None:
            self._leave()
            self._leave = None

    # --- For the parts around it ---

    def failure(self) -> Failure:
        """Return what draws this run for a failed test."""
        return self._failure()

    def torn_off(self) -> Sequence[Branch]:
        """Return the traces that hand-offs of this run went into without anything that leads there."""
        from handrail_harness.testing.tornoff import torn_off

        return torn_off(self._look(), self._session.surroundings)

    def used(self) -> bool:
        """Whether the run has begun, so that it has to be one tree."""
        return bool(self.trace_id)

    def _unknown_name(self, kind: str, name: str) -> str:
        return self._session.unknown_name(kind, name)

    def _look(self, invariants: Collection[InvariantName] | None = None) -> Settled:
        if not self.trace_id:
            raise RunAssertion(f"{self!r}: nothing has been done in it yet; use it after its with block")
        if self._leave is not None:
            raise RunAssertion(f"{self!r}: its with block has not ended, so it cannot be whole; ask after it")
        self._session.note_use(self)
        if self._settled is None:
            self._investigation = self._steps = None
            wanted = self._default_invariants() if invariants is None else invariants
            # What a waiver excuses may keep a run open for ever: look once before waiting to the end.
            first = min(self.patience, _WAIVED_PATIENCE) if self._waivers else self.patience
            self._settled = self._settle(first, wanted)
            if first < self.patience and not self._settled.closed and not _waived_rest(self._settled):
                self._settled = self._settle(self.patience - first, wanted)
        return self._settled

    def _settle(self, deadline: float, wanted: Collection[InvariantName]) -> Settled:
        if self._reader is None:
            self._reader = RunReader(self._session.source, self.trace_id)
        return settle(
            self._session.source,
            self.trace_id,
            deadline=deadline,
            quiet=self._session.quiet,
            grace=_GRACE,
            invariants=wanted,
            waivers=tuple(self._waivers),
            clues=self._session.surroundings.clues(),
            reader=self._reader,
        )

    def _failure(self) -> Failure:
        from handrail_harness.testing.failure import Failure  # draws with rich: only what fails pays for that

        return Failure(self, self._session.surroundings)


def _waived_rest(settled: Settled) -> bool:
    """Whether what keeps a run open is what a waiver excuses: nothing comes any more, and nothing else is broken."""
    report = settled.report
    quiet = all(condition.name not in ("arrived", "quiet") for condition in settled.open_conditions)
    return settled.ended_by == "deadline" and quiet and bool(report.excused) and not report.breaches
