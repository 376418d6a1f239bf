"""The three answers as tables, and the findings: what was done, why, what it touched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from handrail_harness.findings.base import Finding
from handrail_harness.investigate import Investigation
from handrail_harness.investigate.touched import Touched
from handrail_harness.investigate.why import Why
from handrail_harness.render.style import (
    DISPOSITION_STYLES,
    RISK_STYLES,
    SEVERITY_STYLES,
    Signs,
    count,
    duration,
    shown,
)
from handrail_harness.spans import Span

ROWS = 15
WHYS = 4
_NARROW = 90
_NAME = 48
_RESOURCE = 200


def answers(investigation: Investigation, signs: Signs, width: int, full: bool) -> Iterable[RenderableType]:
    """Yield the sections in the order in which they are asked for."""
    rows, whys = (10**9, 10**9) if full else (ROWS, WHYS)
    yield _title("WHAT IT DID")
    yield _what(investigation, signs, width, rows)
    yield _title("WHY")
    yield from _why(investigation, signs, whys)
    yield _title("WHAT IT TOUCHED")
    yield _touched(investigation, signs, width, rows)
    yield _title("FINDINGS")
    yield findings_table(investigation.findings, signs, rows)


def findings_table(listed: Sequence[Finding], signs: Signs, rows: int = ROWS) -> RenderableType:
    """Return the findings, gravest first, with where each sits and what it says."""
    if not listed:
        return _indented(Text(f"{signs.good} none", style="green"))
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for finding in listed[:rows]:
        text = Text().append(finding.name, style="bold")
        text.append(f"  {shown(finding.detail, 400, signs)}")
        text.append(f"  span {finding.span.span_id}", style="dim")
        table.add_row(Text(finding.severity, style=SEVERITY_STYLES[finding.severity]), text)
    parts: list[RenderableType] = [table]
    if len(listed) > rows:
        parts.append(_more(len(listed) - rows, "finding", signs))
    parts.append(Text("What each one means and how to mend it: docs/findings/NAME.md", style="dim"))
    return _indented(Group(*parts))


def _what(investigation: Investigation, signs: Signs, width: int, rows: int) -> RenderableType:
    effects = investigation.effects
    if not effects:
        return _indented(
            Text("no effects: no tool above read was called, and no change is seen", style="dim")
        )
    start = min(span.start_unix_nano for span in investigation.report.forest.spans)
    narrow = width < _NARROW
    table = _table(
        "after", "agent", "tool", "risk", "disposition", *(() if narrow else ("result", "span")), signs=signs
    )
    for effect in effects[:rows]:
        mark = _mark(investigation, effect.span, signs)
        tool = effect.tool_name if effect.declared else f"({effect.touch.verb if effect.touch else 'change'})"
        cells = [
            Text.assemble(mark, duration(effect.span.start_unix_nano - start)),
            Text(shown(effect.agent.name if effect.agent is not None else signs.none, _NAME, signs)),
            Text(shown(tool, _NAME, signs), style="bold"),
            Text(effect.risk or signs.none, style=RISK_STYLES.get(effect.risk or "", "")),
            Text(
                (effect.disposition or signs.none).replace("_", " "),
                style=DISPOSITION_STYLES.get(effect.disposition or "", "yellow"),
            ),
        ]
        if not narrow:
            failed = effect.result_status == "error"
            cells.append(Text(effect.result_status or signs.none, style="red" if failed else ""))
            cells.append(Text(effect.span.span_id, style="dim"))
        table.add_row(*cells)
    return _with_rest(table, len(effects) - rows, "effect", signs)


def _why(investigation: Investigation, signs: Signs, limit: int) -> Iterable[RenderableType]:
    culprit = investigation.culprit.span if investigation.culprit is not None else None
    # What went wrong first, then what waits for a human.
    whys = sorted(
        investigation.why,
        key=lambda why: (why.effect.span is not culprit, why.effect.disposition != "awaiting_approval"),
    )
    if not whys:
        yield _indented(Text("no effects, no decisions to explain", style="dim"))
    for at, why in enumerate(whys[:limit]):
        if at:
            yield Text("")
        yield _indented(_one_why(investigation, why, signs))
    if len(whys) > limit:
        yield _indented(_more(len(whys) - limit, "decision", signs))


def _one_why(investigation: Investigation, why: Why, signs: Signs) -> RenderableType:
    effect = why.effect
    title = Text()
    title.append_text(_mark(investigation, effect.span, signs))
    title.append(shown(effect.tool_name or effect.span.name, _NAME, signs), style="bold")
    if not effect.declared and effect.touch is not None:
        title.append(f"  {shown(effect.touch.verb, 20, signs)} {shown(effect.touch.resource, 80, signs)}")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    for label, text, style in (
        ("intent", why.intent, "italic"),
        ("reasoning", why.reasoning, "italic"),
    ):
        if text is not None:
            grid.add_row(label, Text(f'"{shown(text, 600, signs)}"', style=style))
    if why.intent is None and why.reasoning is None:
        grid.add_row("intent", Text("no decision was recorded", style="yellow"))
    sources = [f"declared: {why.declared_source or signs.none}"]
    if why.observed_source is not None:
        sources.append(f"observed: {why.observed_source}")
    sources.append(f"verdict: {why.source_verdict}")
    grid.add_row("source", Text(shown(f" {signs.dot} ".join(sources), 200, signs)))
    if why.source_spans:
        grid.add_row("taken from", Text(shown("spans " + ", ".join(why.source_spans[:8]), 300, signs)))
    grid.add_row("asked for by", _chain(why, signs))
    return Group(title, Padding(grid, (0, 0, 0, 2)))


def _chain(why: Why, signs: Signs) -> Text:
    """From the operator down to the effect: each agent, why it was called, the model call that decided
    the next.
    """
    text = Text().append("operator", style="bold")
    steps = why.steps if len(why.steps) <= 12 else (*why.steps[:6], *why.steps[-6:])
    for at, step in enumerate(steps):
        if len(steps) < len(why.steps) and at == 6:
            text.append(f"\n{signs.more} {count(len(why.steps) - 12, 'agent')} {signs.more}", style="dim")
        text.append(f"\n{signs.step} ", style="dim").append(
            shown(step.agent, _NAME, signs), style="bold blue"
        )
        if step.reason is not None:
            text.append(f'  "{shown(step.reason, 512, signs)}"', style="italic")
        if step.chat is not None:
            text.append(f"  {shown(step.chat.name, 60, signs)}, span {step.chat.span_id}", style="dim")
    effect = why.effect
    text.append(f"\n{signs.step} ", style="dim")
    return text.append(shown(effect.tool_name or effect.span.name, _NAME, signs), style="bold")


def _touched(investigation: Investigation, signs: Signs, width: int, rows: int) -> RenderableType:
    changed = [one for one in investigation.touched if one.risk != "read"]
    read = [one for one in investigation.touched if one.risk == "read"]
    if not changed and not read:
        return _indented(
            Text("no resources: no tool names any, and no database, http or file span is there", style="dim")
        )
    ordered = [*changed, *read]
    narrow = width < _NARROW
    table = _table("resource", "how", "undo", "by", *(() if narrow else ("credential",)), signs=signs)
    table.columns[0].ratio = 1
    table.columns[0].overflow = "fold"
    for one in ordered[:rows]:
        table.add_row(*_touched_cells(investigation, one, signs, narrow))
    return _with_rest(table, len(ordered) - rows, "resource", signs)


def _touched_cells(investigation: Investigation, one: Touched, signs: Signs, narrow: bool) -> list[Text]:
    base = "dim" if one.risk == "read" else ""
    undo = {
        True: Text("yes", style="green"),
        False: Text("no", style="bold red"),
        None: Text(signs.none, style="dim"),
    }
    path = one.agent_path[-2:] if narrow else one.agent_path[-5:]
    prefix = f"{signs.more} {signs.step} " if len(path) < len(one.agent_path) else ""
    by = prefix + f" {signs.step} ".join(shown(name, 32, signs) for name in path)
    cells = [
        Text(shown(one.resource, _RESOURCE, signs), style=base),
        Text(shown(one.verb, 30, signs).replace("_", " "), style=RISK_STYLES[one.risk]),
        undo[one.reversible],
        Text(by or signs.none, style=base),
    ]
    if not narrow:
        cells.append(Text(shown(one.credential_id or signs.none, 40, signs), style=base))
    return cells


def _mark(investigation: Investigation, span: Span, signs: Signs) -> Text:
    if investigation.culprit is not None and investigation.culprit.span is span:
        return Text(f"{signs.wrong} ", style="bold red")
    if any(finding.span is span for finding in investigation.findings):
        return Text(f"{signs.warning} ", style="yellow")
    return Text("  ")


def _title(text: str) -> RenderableType:
    return Padding(Text(text, style="bold reverse"), (1, 0, 0, 1), expand=False)


def _table(*columns: str, signs: Signs) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD if len(signs.more) == 1 else box.ASCII2, show_edge=False, pad_edge=False
    )
    for column in columns:
        table.add_column(column, header_style="dim", overflow="fold")
    return table


def _with_rest(table: Table, left: int, noun: str, signs: Signs) -> RenderableType:
    return _indented(Group(table, _more(left, noun, signs)) if left > 0 else table)


def _more(number: int, noun: str, signs: Signs) -> Text:
    return Text(f"{signs.more} {count(number, f'more {noun}')} (--full shows all)", style="dim")


def _indented(inner: RenderableType) -> RenderableType:
    return Padding(inner, (0, 1, 0, 2))
