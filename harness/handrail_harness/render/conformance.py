"""Puts a conformance report on the screen: a line for each requirement, what was seen below those that failed."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from handrail_harness.conformance.outcome import GROUPS, Conformance, Outcome
from handrail_harness.render.style import Signs, joined, shown, signs_for

_SEEN_LINES = 3
_SEEN_MAX = 300


class ConformancePicture:
    """A rich renderable; follows the width, the colours and the encoding of the console."""

    def __init__(self, conformance: Conformance) -> None:
        self._conformance = conformance

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        signs = signs_for(console)
        for group, outcomes in self._conformance.groups():
            yield Padding(Text(GROUPS[group], style="bold"), (1, 1, 0, 1))
            table = Table.grid(padding=(0, 2))
            table.add_column(no_wrap=True)
            table.add_column(no_wrap=True)
            table.add_column(ratio=1)
            for one in outcomes:
                _add(table, one, signs)
            yield Padding(table, (0, 1, 0, 2))
        yield Padding(_verdict(self._conformance, signs), (1, 1, 1, 1))


def _add(table: Table, one: Outcome, signs: Signs) -> None:
    if one.state == "passed":
        table.add_row(Text(signs.good, style="green"), Text(one.name), Text(one.expected, style="dim"))
        return
    if one.state == "skipped":
        table.add_row(
            Text(signs.none, style="dim"), Text(one.name), Text(f"not judged: {one.skipped}", "dim")
        )
        return
    table.add_row(
        Text(signs.wrong, style="bold red"),
        Text(one.name, style="bold"),
        Text(f"expected: {one.expected}" + (f" ({one.source})" if one.source else "")),
    )
    for line in one.seen[:_SEEN_LINES]:
        table.add_row("", "", Text(f"seen: {shown(line, _SEEN_MAX, signs)}", style="red"))
    if len(one.seen) > _SEEN_LINES:
        table.add_row("", "", Text(f"and {len(one.seen) - _SEEN_LINES:,} more (--json has all)", style="red"))


def _verdict(conformance: Conformance, signs: Signs) -> Text:
    good = conformance.passed
    name = shown(conformance.app, 80, signs)
    text = Text(
        f"{signs.good} {name} passes" if good else f"{signs.wrong} {name} does not pass",
        style="bold green" if good else "bold red",
    )
    parts = [
        Text(f"{conformance.count('passed')} passed"),
        Text(f"{conformance.count('failed')} failed"),
        Text(f"{conformance.count('skipped')} not judged"),
        Text(f"{conformance.seconds:.1f} s"),
    ]
    return text.append("  ").append_text(joined(parts, signs))
