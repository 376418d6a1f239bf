"""Draws the tree: who delegated to whom and why, what each agent decided and did, and the branch that
went wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from handrail_harness.effects import RunView
from handrail_harness.effects.touch import touch_of
from handrail_harness.effects.view import is_operation
from handrail_harness.findings.base import TITLES
from handrail_harness.forest import Key, key_of
from handrail_harness.investigate import Investigation
from handrail_harness.render.nodes import Node, build_nodes, cut, worst
from handrail_harness.render.style import (
    DISPOSITION_STYLES,
    RISK_STYLES,
    SEVERITY_STYLES,
    Signs,
    count,
    duration,
    joined,
    shown,
    signs_for,
)
from handrail_harness.spans import Span
from handrail_propagation.conventions import (
    ABANDONED,
    CELERY_TASK_NAME,
    DECISION_CONTEXT_SOURCE,
    DECISION_INTENT,
    DECISION_RISK,
    DELEGATION_REASON,
    ERROR_TYPE,
    GEN_AI_AGENT_NAME,
    GEN_AI_TOOL_NAME,
    MESSAGE_ATTEMPT,
    MESSAGE_QUEUE_WAIT,
    MESSAGING_DESTINATION_NAME,
    OPERATION_EXECUTE_TOOL,
    OPERATION_INVOKE_AGENT,
    RUN_SEGMENT,
    TOOL_DISPOSITION,
    TOOL_RESULT_STATUS,
)

LINES = 120
_NAME = 60
_QUOTE = 256


def render_tree(
    investigation: Investigation,
    *,
    full: bool = False,
    lines: int = LINES,
    marks: Mapping[Key, str] | None = None,
) -> TreePicture:
    """Return the picture of the run's trees; at most about `lines` lines unless `full`.

    `marks` are texts to be shown at spans, besides the findings: what a test says is wrong there.
    """
    return TreePicture(investigation, full, lines, marks or {})


class TreePicture:
    """A rich renderable; draws itself to the width and the encoding of the console."""

    def __init__(
        self, investigation: Investigation, full: bool, lines: int, marks: Mapping[Key, str]
    ) -> None:
        self._view = investigation.view
        # A test's marks say where to look; what else is remarkable in its run stays a finding.
        self._culprit = None if marks else investigation.culprit
        self._marks = marks
        tops = build_nodes(
            investigation.view,
            investigation.findings,
            self._culprit.path if self._culprit is not None else (),
            (
                *(effect.span for effect in investigation.effects),
                *(span for key, span in investigation.view.forest.by_key.items() if key in marks),
            ),
        )
        self._tops = tops if full else cut(tops, lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        signs = signs_for(console)
        traces = self._view.report.trace_ids
        trace = None
        for top in self._tops:
            if len(traces) > 1 and top.spans and top.head.trace_id != trace:
                trace = top.head.trace_id
                number = traces.index(trace) + 1
                yield Text(
                    f"  trace {trace}  ({number} of {len(traces)})",
                    style="dim",
                    overflow="ellipsis",
                    no_wrap=True,
                )
            yield from self._lines(top, options.max_width, signs)

    def _lines(self, top: Node, width: int, signs: Signs) -> Iterator[Text]:
        stack: list[tuple[Node, str, str]] = [(top, "", "")]
        while stack:
            node, before, after = stack.pop()
            room = max(width // 2 - 4, 8)
            first, *rest = self._texts(node, signs)
            yield _line(self._gutter(node, signs), _fit(before, room, signs), first, width, signs)
            beside = signs.through if node.children else "  "
            for extra in rest:
                yield _line(_side(node, signs), _fit(after + beside, room, signs), extra, width, signs)
            for at, child in enumerate(reversed(node.children)):
                branch, below = (signs.last, "  ") if at == 0 else (signs.fork, signs.through)
                stack.append((child, f"{after}{branch} ", f"{after}{below} "))

    def _gutter(self, node: Node, signs: Signs) -> Text:
        finding = worst(node.findings)
        if self._marked(node):
            return Text(f"{signs.wrong} ", style="bold red")
        if self._culprit is not None and any(span is self._culprit.span for span in node.spans):
            return Text(f"{signs.wrong} ", style="bold red")
        if finding is not None:
            sign = signs.warning if finding.severity in ("medium", "low") else signs.wrong
            return Text(f"{sign} ", style=SEVERITY_STYLES[finding.severity])
        return _side(node, signs)

    def _texts(self, node: Node, signs: Signs) -> list[Text]:
        """Return the line of a node, then its reason or intent, then what is wrong with it."""
        if not node.spans:
            return [Text(f"{signs.more} {count(node.hidden, 'more span')} (--full shows all)", style="dim")]
        lines = [self._label(node, signs)]
        if node.times > 1:
            lines[0].append(f"  {signs.times} {node.times:,}", style="bold dim")
        if self._culprit is not None and any(span is self._culprit.span for span in node.spans):
            lines[0].append(f"  {signs.culprit} culprit", style="bold red")
        quote = self._quote(node, signs)
        if quote is not None:
            lines.append(quote)
        for finding in node.findings:
            sign = signs.warning if finding.severity in ("medium", "low") else signs.wrong
            lines.append(Text(f"{sign} {TITLES[finding.name]}", style=SEVERITY_STYLES[finding.severity]))
        lines += [
            Text(f"{signs.wrong} {shown(mark, _QUOTE, signs)}", style="bold red")
            for mark in self._marked(node)
        ]
        return lines

    def _marked(self, node: Node) -> list[str]:
        return [self._marks[key_of(span)] for span in node.spans if key_of(span) in self._marks]

    def _label(self, node: Node, signs: Signs) -> Text:
        head = node.head
        if is_operation(head, OPERATION_EXECUTE_TOOL):
            return _tool(self._view, head, signs)
        if head.kind in ("producer", "consumer") or is_operation(head, OPERATION_INVOKE_AGENT):
            return _handoff(self._view, node, signs)
        touch = touch_of(head)
        if touch is not None:
            text, style = f"{touch.verb} {touch.resource}", "" if touch.changes else "dim"
            label = Text().append(shown(text, 120, signs), style=style)
        else:
            label = Text().append(shown(head.name, _NAME, signs), style="dim")
        label.append_text(_ending(head, signs))
        return label

    def _quote(self, node: Node, signs: Signs) -> Text | None:
        reason = node.text(DELEGATION_REASON)
        if reason:
            return Text(f'"{shown(reason, _QUOTE, signs)}"', style="italic dim")
        if not is_operation(node.head, OPERATION_EXECUTE_TOOL):
            return None
        intent = self._view.decision_text(node.head, DECISION_INTENT)
        if intent is None:
            return None
        source = self._view.decision_text(node.head, DECISION_CONTEXT_SOURCE)
        quote = Text().append(f'"{shown(intent, _QUOTE, signs)}"', style="italic")
        if source is not None:
            quote.append(f"  source: {shown(source, 40, signs)}", style="dim")
        return quote


def _tool(view: RunView, span: Span, signs: Signs) -> Text:
    risk = view.decision_text(span, DECISION_RISK)
    disposition = span.text(TOOL_DISPOSITION)
    label = Text()
    label.append(
        shown(span.text(GEN_AI_TOOL_NAME) or span.name, _NAME, signs), style="bold" if risk != "read" else ""
    )
    label.append("  ")
    parts = [
        Text(shown(risk or "", 20, signs), style=RISK_STYLES.get(risk or "", "red")),
        Text(
            shown(disposition, 30, signs).replace("_", " "),
            style=DISPOSITION_STYLES.get(disposition, "yellow"),
        ),
        Text("failed" if span.text(TOOL_RESULT_STATUS) == "error" else "", style="red"),
    ]
    label.append_text(joined(parts, signs))
    label.append_text(_ending(span, signs))
    return label


def _handoff(view: RunView, node: Node, signs: Signs) -> Text:
    agent = node.agent()
    name = next(
        (text for span in (agent, *node.spans) if span and (text := span.text(GEN_AI_AGENT_NAME))), ""
    )
    queue = node.text(MESSAGING_DESTINATION_NAME)
    # Without agents what a person looks for is the task; one queue often has many.
    called = node.text(CELERY_TASK_NAME) or queue or node.head.name
    consumer = next((span for span in node.spans if span.kind == "consumer"), None)
    label = Text()
    if node.head.kind == "internal":
        segment = agent.attributes.get(RUN_SEGMENT) if agent is not None else None
        label.append(shown(name or node.head.name, _NAME, signs), style="bold blue")
        if isinstance(segment, int) and segment > 1:
            label.append("  resumed", style="dim")
    elif node.head.kind == "consumer":
        attempt = node.head.attributes.get(MESSAGE_ATTEMPT)
        label.append(shown(name or called, _NAME, signs), style="bold blue")
        label.append(f"  attempt {attempt}" if isinstance(attempt, int) else "  received", style="dim")
    elif name or agent is not None:
        label.append(f"{signs.handoff} ", style="blue")
        label.append(shown(name, _NAME, signs), style="bold blue")
    else:
        name = view.woken_by(consumer) if consumer is not None else ""
        label.append(f"{signs.wakes} wakes " if name else f"{signs.handoff} ", style="blue")
        label.append(shown(name or called, _NAME, signs), style="blue")
    wait = consumer.attributes.get(MESSAGE_QUEUE_WAIT) if consumer is not None else None
    parts = [
        Text(
            f"queue {shown(queue, _NAME, signs)}" if queue and queue != (name or called) else "", style="dim"
        ),
        Text(
            f"waited {duration(int(wait * 1e9))}"
            if isinstance(wait, (int, float)) and not isinstance(wait, bool) and 0.001 <= wait < 1e9
            else "",
            style="dim",
        ),
    ]
    details = joined(parts, signs)
    if details.plain:
        label.append("  ").append_text(details)
    label.append_text(_ending(agent or consumer or node.head, signs))
    return label


def _ending(span: Span, signs: Signs) -> Text:
    ending = Text().append(f"  {duration(span.end_unix_nano - span.start_unix_nano)}", style="dim")
    if span.attributes.get(ABANDONED) is True:
        ending.append(f"  {signs.wrong} abandoned", style="red")
    elif span.status_code == "error" and not span.text(TOOL_RESULT_STATUS):
        ending.append(f"  {signs.warning} {shown(span.text(ERROR_TYPE) or 'error', 40, signs)}", style="red")
    return ending


def _side(node: Node, signs: Signs) -> Text:
    return Text(f"{signs.path} ", style="bold red") if node.on_path else Text("  ")


def _fit(prefix: str, room: int, signs: Signs) -> str:
    """Keep the innermost part of the guides where a deep tree would push the text off the screen."""
    return prefix if len(prefix) <= room else signs.more + prefix[len(signs.more) - room :]


def _line(gutter: Text, prefix: str, text: Text, width: int, signs: Signs) -> Text:
    line = Text(no_wrap=True, overflow="crop")
    line.append_text(gutter)
    line.append(prefix, style="dim")
    line.append_text(text)
    line.truncate(width, overflow="ellipsis" if len(signs.more) == 1 else "crop")
    return line
