"""Puts the report of `check` on the screen: the verdict, the rules, and what broke each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from handrail_harness.render.answers import findings_table
from handrail_harness.render.style import Signs, count, joined, shown, signs_for
from handrail_harness.rules.base import NAMES, InvariantName
from handrail_harness.rules.report import Report
from handrail_harness.rules.table import INVARIANTS, UNIFYING

_PLACES_MAX = 5


def render_report(report: Report, *, every: bool = False) -> ReportPicture:
    """Return the report as a rich renderable; with `every`, all invariants and not those of the tree alone."""
    return ReportPicture(report, every)


class ReportPicture:
    """A rich renderable; follows the width, the colours and the encoding of the console."""

    def __init__(self, report: Report, every: bool = False) -> None:
        self._report = report
        self._names = NAMES if every else UNIFYING

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        signs = signs_for(console)
        report = self._report
        yield Padding(_verdict(report, signs), (1, 1, 0, 1))
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        for name in self._names:
            broken = report.breaches_of(name)
            sign = Text(signs.wrong, style="bold red") if broken else Text(signs.good, style="green")
            says = (
                Text(f"broken in {count(len(broken), 'place')}", style="red")
                if broken
                else Text(INVARIANTS[name].statement, style="dim")
            )
            table.add_row(sign, Text(name, style="bold" if broken else ""), says)
        yield Padding(table, (1, 1, 0, 2))
        if report.findings:
            yield Text("")
            yield findings_table(report.findings, signs)
        yield from _not_findings(report, self._names, signs)
        yield Text("")


def _not_findings(report: Report, told: Sequence[InvariantName], signs: Signs) -> Iterator[RenderableType]:
    """Breaches that no finding tells of: where they are, or that there are some."""
    if len(told) == len(UNIFYING):
        others = dict.fromkeys(one.invariant for one in report.breaches if one.invariant not in UNIFYING)
        if others:
            yield Padding(
                Text(f"also broken: {', '.join(others)}; see --invariants all", "yellow"), (1, 1, 0, 2)
            )
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for name in told:
        broken = report.breaches_of(name) if name not in UNIFYING else ()
        for one in broken[:_PLACES_MAX]:
            where = f"{shown(one.span.full_name, 80, signs)} ({one.span.span_id}) "
            table.add_row(Text(name, style="bold"), Text(where + one.detail))
        if len(broken) > _PLACES_MAX:
            table.add_row(Text(name, style="bold"), Text(f"and {len(broken) - _PLACES_MAX:,} more places"))
    if table.row_count:
        yield Padding(table, (1, 1, 0, 2))


def _verdict(report: Report, signs: Signs) -> Text:
    forest = report.forest
    if report.unified:
        text = Text().append(f"{signs.good} one unified tree", style="bold green")
    else:
        text = Text().append(f"{signs.wrong} not one unified tree", style="bold red")
    parts = [
        Text(count(len(forest.spans), "span")),
        Text(count(len(report.trace_ids), "trace")),
        Text(count(len(forest.roots), "root")),
        Text(count(len(forest.orphans), "orphan")),
        Text(count(sum(span.kind == "producer" for span in forest.by_key.values()), "hand-off")),
    ]
    text.append("  ").append_text(joined(parts, signs))
    ids = [Text(f"trace {report.trace_id}", style="dim")]
    if report.run_id:
        ids.append(Text(f"run {shown(report.run_id, 64, signs)}", style="dim"))
    return text.append("\n").append_text(joined(ids, signs))
