"""Waiting for a run to come to rest: until it is closed, not until so many spans have arrived.

Closed means: its root has ended, no span hangs below one that is still open, every message sent was received, and
nothing new has come for a while. A breach that no further span can mend ends the wait early. What was read is read
again only where the source does not say that there is no more of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from handrail_harness.errors import TraceNotFound
from handrail_harness.forest import Key
from handrail_harness.printable import printable
from handrail_harness.rules.base import NAMES, Breach, InvariantName
from handrail_harness.rules.check import examine_run
from handrail_harness.rules.reading import RunReader, RunSpans
from handrail_harness.rules.report import Report
from handrail_harness.rules.waivers import Waiver
from handrail_harness.sources.base import Source

_POLL: Final = 0.1  # seconds
QUIET: Final = 0.3
"""Seconds without a new span. Exporters in tests send every 0.1 s (`OTEL_BSP_SCHEDULE_DELAY=100`)."""

ConditionName = Literal["arrived", "root_ended", "parents_ended", "handoffs_received", "quiet"]
Clue = Callable[[], Iterable[str]]
"""Gives lines about what the run's surroundings are doing, such as a queue's length or a worker's last lines."""

_NAMED_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of closure that does not hold, and for how many seconds now it has not."""

    name: ConditionName
    detail: str
    open_for: float

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}, for {self.open_for:.1f} s"


@dataclass(frozen=True, slots=True)
class Settled:
    """How a wait ended, with the report on what was there then.

    `ended_by` is `closed`, `final_breach` (see `final_breaches`) or `deadline`; then `open_conditions` say what
    was waited for, and `clues` what the given callbacks told, by their names.
    """

    report: Report
    ended_by: Literal["closed", "final_breach", "deadline"]
    waited: float
    open_conditions: tuple[Condition, ...] = ()
    final_breaches: tuple[Breach, ...] = ()
    clues: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """Whether the run came to rest."""
        return self.ended_by == "closed"

    def explain(self) -> str:
        """Return why the wait ended, a line a reason; `""` for a run that came to rest."""
        lines: list[str] = []
        if self.ended_by == "final_breach":
            lines.append(f"after {self.waited:.1f} s a breach that no further span can mend:")
            lines += [f"  {one.invariant}: {one.detail}" for one in self.final_breaches]
        elif self.ended_by == "deadline":
            lines.append(f"not settled after {self.waited:.1f} s:")
            lines += [f"  {condition}" for condition in self.open_conditions]
        for name, told in self.clues.items():
            lines.append(f"  {name}:" if told else f"  {name}: nothing")
            lines += [f"    {line}" for line in told]
        return "\n".join(lines)


def settle(
    source: Source,
    trace: str | None,
    *,
    deadline: float,
    quiet: float = QUIET,
    grace: float = 0.0,
    invariants: Collection[InvariantName] = NAMES,
    waivers: Sequence[Waiver] = (),
    clues: Mapping[str, Clue] | None = None,
    reader: RunReader | None = None,
) -> Settled:
    """Wait until a run is closed, at most `deadline` seconds, and return how the wait ended.

    `trace` is a trace id, the beginning of one, a run id, or `None` for the latest trace. `quiet` is for how many
    seconds nothing new may have come. A final breach of one of `invariants` (default: all) that no waiver excuses
    ends the wait, at once or, with `grace`, as soon as nothing new comes, at most so many seconds later: what
    explains a breach often arrives right behind it. `clues` are asked when the run is not closed, each for its lines.
    `reader` has read this run of this source before, for who waits for it more than once.

    Raises `SourceError` when the source cannot be read, `TraceNotFound` when nothing arrives and `trace` is `None`.
    """
    watch = _Watch(quiet)
    look = _Look(reader or RunReader(source, trace), waivers)
    while True:
        try:
            report = look.again()
        except TraceNotFound:
            if trace is None and watch.elapsed() >= deadline:
                raise
            report = examine_run(RunSpans(source.name, trace or "", "", (), (), ()))
        watch.look(report)
        final = tuple(breach for breach in report.final_breaches if breach.invariant in invariants)
        if final and (watch.is_quiet or watch.breached() >= grace):
            return Settled(report, "final_breach", watch.elapsed(), watch.open(), final, _ask(clues))
        if not watch.open():
            return Settled(report, "closed", watch.elapsed())
        left = deadline - watch.elapsed()
        if left <= 0:
            return Settled(report, "deadline", watch.elapsed(), watch.open(), clues=_ask(clues))
        time.sleep(min(_POLL, left))


def settled(source: Source, trace_id: str | None, *, wait: float) -> Report:
    """Return the report on a run as soon as it is unified, at the latest after `wait` seconds.

    Raises `TraceNotFound` when nothing of it has arrived by then.
    """
    deadline = time.monotonic() + wait
    look = _Look(RunReader(source, trace_id))
    while True:
        left = deadline - time.monotonic()
        try:
            report = look.again()
        except TraceNotFound:
            if left <= 0:
                raise
        else:
            if report.unified or left <= 0:
                return report
        time.sleep(min(_POLL, max(left, 0)))


class _Look:
    """Examines a run again and again: the same report for as long as the same is there."""

    def __init__(self, reader: RunReader, waivers: Sequence[Waiver] = ()) -> None:
        self._reader = reader
        self._waivers = waivers
        self._seen: tuple[RunSpans, Report] | None = None

    def again(self) -> Report:
        """Return the report on what is there now; raises `TraceNotFound`."""
        run = self._reader.read()
        if self._seen is None or self._seen[0] is not run:
            self._seen = (run, examine_run(run, self._waivers))
        return self._seen[1]


class _Watch:
    """Which conditions are open, and since when."""

    def __init__(self, quiet: float) -> None:
        self._quiet = quiet
        self._began = self._changed = time.monotonic()
        self._open: dict[ConditionName, tuple[str, float]] | None = None
        self._breached: float | None = None
        self._seen: frozenset[Key] = frozenset()
        self._looked_at: Report | None = None
        self._holding_off: tuple[tuple[ConditionName, str], ...] = ()

    def elapsed(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self._began

    @property
    def is_quiet(self) -> bool:
        """Whether nothing new has come for a while."""
        return "quiet" not in (self._open or {})

    def breached(self) -> float:
        """Seconds since this was asked first."""
        now = time.monotonic()
        if self._breached is None:
            self._breached = now
        return now - self._breached

    def look(self, report: Report) -> None:
        """Take note of what holds now."""
        now = time.monotonic()
        if report is not self._looked_at:
            self._looked_at, self._holding_off = report, tuple(_open_conditions(report))
            there = frozenset(report.forest.by_key)
            if there != self._seen:
                self._seen, self._changed = there, now
        before = self._open
        self._open = {}
        for name, detail in self._holding_off:
            since = self._began if before is None else before[name][1] if name in before else now
            self._open[name] = (detail, since)
        if self._seen and now - self._changed < self._quiet:
            self._open["quiet"] = (f"spans still come, {len(self._seen):,} so far", self._changed)

    def open(self) -> tuple[Condition, ...]:
        """Return the conditions that do not hold."""
        now = time.monotonic()
        return tuple(
            Condition(name, detail, now - since) for name, (detail, since) in (self._open or {}).items()
        )


def _open_conditions(report: Report) -> Iterable[tuple[ConditionName, str]]:
    forest = report.forest
    if not forest.spans:
        yield "arrived", "no span of the run is there"
        return
    if not forest.roots:
        yield "root_ended", "no root is there"
    if forest.orphans:
        first = {orphan.parent_span_id: orphan for orphan in reversed(forest.orphans)}
        named = [f"{parent} (above {printable(span.name, 40)})" for parent, span in reversed(first.items())]
        yield "parents_ended", f"{_listed(named)} not ended, or lost"
    if sends := report.handoffs.unreceived:
        named = [f"{printable(send.name, 40)} ({send.span_id})" for send in sends]
        yield "handoffs_received", f"{_listed(named)} not received"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED_MAX:,} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more


def _ask(clues: Mapping[str, Clue] | None) -> dict[str, tuple[str, ...]]:
    told: dict[str, tuple[str, ...]] = {}
    for name, clue in (clues or {}).items():
        try:
            told[name] = tuple(printable(line, 300) for line in clue())
        except Exception as error:  # noqa: BLE001 - a clue that cannot be had must not hide the others
            told[name] = (f"could not be asked: {type(error).__name__}: {printable(error, 200)}",)
    return told
