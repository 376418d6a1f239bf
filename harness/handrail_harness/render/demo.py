"""How the demo is told: what the operator asked and saw, what is left, and the investigation of the run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from handrail_harness.demo.act import Act
from handrail_harness.demo.scripts import REQUEST
from handrail_harness.effects.effect import tool_name
from handrail_harness.effects.view import is_operation
from handrail_harness.render.headline import headline
from handrail_harness.render.investigation import render_investigation
from handrail_harness.render.outcome import outcome_line
from handrail_harness.render.report import render_report
from handrail_harness.render.style import Signs, shown, signs_for
from handrail_harness.store.location import DATA_DIR_VARIABLE
from handrail_propagation.conventions import GEN_AI_AGENT_NAME, OPERATION_EXECUTE_TOOL, TOOL_DISPOSITION

_LEFT: Final = (
    ("bookings in production", "production_rows"),
    ("backups of production", "production_backups"),
    ("bookings in staging", "staging_rows"),
    ("registered volumes", "volumes"),
    ("archive copies, three months old", "archive_copies"),
)


def render_demo(acts: Sequence[Act], *, data_dir: Path | None, workspace: Path | None) -> DemoPicture:
    """Return both acts as one renderable; `data_dir` and `workspace` when they are not the default ones."""
    return DemoPicture(acts, data_dir, workspace)


class DemoPicture:
    """A rich renderable; follows the width, the colours and the encoding of the console."""

    def __init__(self, acts: Sequence[Act], data_dir: Path | None, workspace: Path | None) -> None:
        self._acts = acts
        self._data_dir = data_dir
        self._workspace = workspace

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        signs = signs_for(console)
        for number, act in enumerate(self._acts, start=1):
            yield Text("")
            yield Rule(Text(f"Act {number}: the gate is {act.gate}", style="bold"), characters="-")
            yield from _act(act, signs)
        yield Rule(Text("Look for yourself", style="bold"), characters="-")
        yield from self._next()

    def _next(self) -> Iterable[RenderableType]:
        before = f"{DATA_DIR_VARIABLE}={self._data_dir} " if self._data_dir is not None else ""
        if os.environ.get("UV_RUN_RECURSION_DEPTH"):
            before += "uv run "  # then the command is on nobody's PATH
        first, last = self._acts[0], self._acts[-1]
        for what, trace in (("investigate", first), ("check", first), ("investigate", last)):
            trace_id = trace.investigation.report.trace_id
            # One line each, however narrow the terminal: they are there to be copied.
            yield Text(
                f"   {before}handrail {what} {trace_id}", style="cyan", no_wrap=True, overflow="ignore"
            )
        if self._workspace is not None:
            yield Text(f"   what is left of the volumes: {self._workspace}", no_wrap=True, overflow="ignore")


def _act(act: Act, signs: Signs) -> Iterable[RenderableType]:
    yield _title("THE OPERATOR ASKED")
    yield _indented(Text(f'"{REQUEST}"', style="italic"))
    yield _title("WHAT THE OPERATOR SAW")
    yield _indented(_lines(act, signs))
    yield _indented(outcome_line(act.outcome, "planner", signs))
    yield _title("WHAT IS LEFT")
    yield _indented(_inventory(act, signs))
    if act.wiped:
        yield _indented(
            Text("Every line is green, and production is gone with all its backups.", style="bold red")
        )
    if act.gate == "on":
        yield headline(act.investigation, signs)
    else:
        yield _title("IS IT ONE TREE?")
        yield render_report(act.investigation.report)
        yield _title("THE INVESTIGATION")
        yield render_investigation(act.investigation)


def _lines(act: Act, signs: Signs) -> Text:
    """One line for each tool call with its span status: what a dashboard without decisions would show."""
    text = Text()
    for span in act.investigation.report.forest.spans:
        if not is_operation(span, OPERATION_EXECUTE_TOOL):
            continue
        waits = span.text(TOOL_DISPOSITION) == "awaiting_approval"
        failed = span.status_code == "error"
        sign, style = (signs.wrong, "red") if failed else (signs.good, "green")
        sign, style = (signs.waiting, "yellow") if waits else (sign, style)
        text.append(f"{sign} ", style=style)
        text.append(shown(tool_name(span), 40, signs), style=style)
        text.append(f"  {shown(span.text(GEN_AI_AGENT_NAME), 40, signs)}\n", style="dim")
    return text


def _inventory(act: Act, signs: Signs) -> Table:
    table = Table(box=box.SIMPLE_HEAD if signs.dot == "·" else box.ASCII, pad_edge=False)
    table.add_column("")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    before, after = act.before.document(), act.after.document()
    for label, key in _LEFT:
        style = "bold red" if after[key] < before[key] else ""
        table.add_row(label, f"{before[key]:,}", Text(f"{after[key]:,}", style=style))
    return table


def _title(text: str) -> RenderableType:
    return Padding(Text(text, style="bold"), (1, 0, 0, 1))


def _indented(inner: RenderableType) -> RenderableType:
    return Padding(inner, (0, 1, 0, 3))
