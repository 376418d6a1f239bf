"""Puts the report of `check` on the screen: the verdict, the rules, and what broke each of them."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from handrail_harness.render.answers import findings_table
from handrail_harness.render.style import Signs, count, joined, shown, signs_for
from handrail_harness.rules.report import Report

_RULES = {
    "one_trace": "all spans of the run are in one trace",
    "one_root": "there is one root",
    "no_orphans": "every parent is there",
    "unique_span_ids": "every span id occurs once",
    "no_cycles": "no span is its own ancestor",
    "handoff_received": "every message sent was received below its send",
    "consumer_has_handoff": "every message received hangs below a send",
    "handoff_same_message": "send and receipt are of the same message",
    "lineage_agrees": "the queue's own lineage says the same as the tree",
}


def render_report(report: Report) -> ReportPicture:
    """Return the report as a rich renderable."""
    return ReportPicture(report)


class ReportPicture:
    """A rich renderable; follows the width, the colours and the encoding of the console."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        signs = signs_for(console)
        report = self._report
        yield Padding(_verdict(report, signs), (1, 1, 0, 1))
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        for rule, broken in report.rules.items():
            sign = Text(signs.wrong, style="bold red") if broken else Text(signs.good, style="green")
            times = (
                Text(f"broken in {count(broken, 'place')}", style="red")
                if broken
                else Text(_RULES[rule], style="dim")
            )
            table.add_row(sign, Text(rule, style="bold" if broken else ""), times)
        yield Padding(table, (1, 1, 0, 2))
        if report.findings:
            yield Text("")
            yield findings_table(report.findings, signs)
        yield Text("")


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
