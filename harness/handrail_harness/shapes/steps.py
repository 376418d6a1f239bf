"""From spans to steps: agents, tasks, tools and model calls, each inside the one that it was done for.

A hand-off is one step, whatever spans it is made of (caller's side, send, one or more receipts, the callee).
Reads the tree as it was exported: what a lost header tore off stands at the top, not where it belongs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from handrail_harness.effects import RunView
from handrail_harness.effects.effect import risk_of, tool_name
from handrail_harness.effects.view import is_operation
from handrail_harness.rules.handoffs import message_id_of
from handrail_harness.spans import AttributeValue, Span
from handrail_propagation import conventions as names

StepKind = Literal["agent", "task", "tool", "chat"]
_CHATS = frozenset({names.OPERATION_CHAT, "text_completion", "generate_content"})


@dataclass(eq=False)
class Step:
    """One step of a run. `handed_off`: it was reached by a message. `deliveries`: how often that arrived."""

    kind: StepKind
    name: str
    view: RunView = field(repr=False)
    spans: list[Span] = field(default_factory=list, repr=False)
    parent: Step | None = field(default=None, repr=False)
    children: list[Step] = field(default_factory=list, repr=False)
    handed_off: bool = False
    deliveries: int = 0
    message_id: str = ""

    @property
    def span(self) -> Span:
        """The step's first span."""
        return self.spans[0]

    @property
    def start_unix_nano(self) -> int:
        """When the step began, by the clock of whoever began it."""
        return min(span.start_unix_nano for span in self.spans)

    @property
    def end_unix_nano(self) -> int:
        """When the step's last span ended."""
        return max(span.end_unix_nano for span in self.spans)

    @property
    def path(self) -> tuple[str, ...]:
        """Names of the steps around this one, outermost first, its own last."""
        return tuple(step.name for step in reversed([self, *self.around()]))

    @property
    def attempts(self) -> int:
        """How often the step's message was delivered; 0 without a message, or when it never was."""
        return self.deliveries

    @property
    def disposition(self) -> str:
        """What became of a tool call (`executed`, `denied`, ...), `""` for other steps."""
        return self.span.text(names.TOOL_DISPOSITION) if self.kind == "tool" else ""

    @property
    def result(self) -> str:
        """A tool call's result status: `ok`, `error`, `none`; `""` for other steps."""
        return self.span.text(names.TOOL_RESULT_STATUS) if self.kind == "tool" else ""

    @cached_property
    def risk(self) -> str:
        """A tool call's effective risk, `""` where nothing says it."""
        return (risk_of(self.view, self.span) or "") if self.kind == "tool" else ""

    @property
    def error(self) -> str:
        """`error.type` of the step's last failed span, `""` when none failed."""
        failed = (span for span in reversed(self.spans) if span.status_code == "error")
        return next((span.text(names.ERROR_TYPE) or "error" for span in failed), "")

    def attribute(self, key: str) -> AttributeValue:
        """Return an attribute of the step's spans (the first that has it) or of its decision, or `None`."""
        for span in self.spans:
            if key in span.attributes:
                return span.attributes[key]
        return self.view.decision(self.span, key)

    def around(self) -> Iterator[Step]:
        """Yield the steps around this one, innermost first."""
        step = self.parent
        while step is not None:
            yield step
            step = step.parent

    def tasks(self) -> set[str]:
        """Return the names of the Celery tasks that the step's messages were for."""
        return {_task_name(span) for span in self.spans if span.kind in ("producer", "consumer")}

    def label(self) -> str:
        """Return kind and name as shapes write them: `agent cleaner`, `handoff scout`, `tool drop_table`."""
        kind = "handoff" if self.kind == "agent" and self.handed_off and self.parent else self.kind
        return f"{kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Steps:
    """All steps of a run, earliest first; `tops` are those that are inside no other."""

    tops: tuple[Step, ...]
    all: tuple[Step, ...]


def steps_of(view: RunView) -> Steps:
    """Return the steps of a run."""
    builder = _Builder(view)
    for span, parent, _ in view.forest.walk():
        builder.add(span, parent)
    return Steps(tuple(builder.tops), tuple(sorted(builder.found, key=lambda step: step.start_unix_nano)))


class _Builder:
    """Gives every span, parents before children, to the step that it belongs to."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._owner: dict[int, Step | None] = {}
        self.tops: list[Step] = []
        self.found: list[Step] = []

    def add(self, span: Span, parent: Span | None) -> None:
        around = self._owner[id(parent)] if parent is not None else None
        self._owner[id(span)] = self._place(span, parent, around)

    def _place(self, span: Span, parent: Span | None, around: Step | None) -> Step | None:
        if is_operation(span, names.OPERATION_INVOKE_AGENT):
            return self._agent(span, parent, around)
        if span.kind == "producer":
            return self._send(span, parent, around)
        if span.kind == "consumer":
            return self._receipt(span, parent, around)
        if is_operation(span, names.OPERATION_EXECUTE_TOOL):
            return self._new("tool", tool_name(span), span, around)
        if span.text(names.GEN_AI_OPERATION_NAME) in _CHATS:
            self._new("chat", span.text(names.GEN_AI_REQUEST_MODEL) or span.name, span, around)
        return around  # any other span is transparent

    def _agent(self, span: Span, parent: Span | None, around: Step | None) -> Step:
        name = span.text(names.GEN_AI_AGENT_NAME) or span.name.removeprefix("invoke_agent ")
        if span.kind == "client":
            return self._new("agent", name, span, around, handed_off=True)
        segment = span.attributes.get(names.RUN_SEGMENT)
        # Our agents are tasks of their own name; an agent of another framework is inside its task.
        if parent is not None and parent.kind == "consumer" and around is not None and around.name == name:
            around.kind = "agent"
            around.spans.append(span)
            return around
        if isinstance(segment, int) and segment > 1 and around is not None:
            same = next((one for one in (around, *around.around()) if one.name == name), None)
            if same is not None and same.kind == "agent":
                same.spans.append(span)
                return same
        return self._new("agent", name, span, around)

    def _send(self, span: Span, parent: Span | None, around: Step | None) -> Step | None:
        message_id = message_id_of(span)
        if around is not None:
            delegation = parent is not None and parent.kind == "client"
            if (
                delegation
                and around.handed_off
                and is_operation(around.spans[-1], names.OPERATION_INVOKE_AGENT)
            ):
                around.spans.append(span)
                around.message_id = message_id
                return around
            # A retry that nests in the attempt before it; a task that replaces another (Task.replace) has its id, too.
            if message_id and message_id == around.message_id and _task_name(span) in around.tasks():
                around.spans.append(span)
                return around
            if self._wakes(span, parent, around):
                return around
        step = self._new("task", _task_name(span), span, around, handed_off=True)
        step.message_id = message_id
        return step

    def _wakes(self, span: Span, parent: Span | None, around: Step) -> bool:
        """Whether a message only lets an agent further out go on: plumbing of a delegation, no step."""
        if parent is None or parent.kind != "consumer" or around.kind != "agent":
            return False
        name = _task_name(span)
        return any(step.kind == "agent" and step.name == name for step in around.around())

    def _receipt(self, span: Span, parent: Span | None, around: Step | None) -> Step | None:
        if parent is not None and parent.kind == "producer" and around is not None:
            if message_id_of(parent) == around.message_id:
                around.spans.append(span)
                around.deliveries += 1
            return around
        step = self._new("task", _task_name(span), span, around, handed_off=True)
        step.message_id, step.deliveries = message_id_of(span), 1
        return step

    def _new(
        self, kind: StepKind, name: str, span: Span, around: Step | None, *, handed_off: bool = False
    ) -> Step:
        step = Step(kind, name, self._view, [span], around, handed_off=handed_off)
        self.found.append(step)
        (self.tops if around is None else around.children).append(step)
        return step


def _task_name(span: Span) -> str:
    named = span.text(names.CELERY_TASK_NAME) or span.text(names.MESSAGING_DESTINATION_NAME)
    return named or span.name.partition(" ")[2] or span.name.partition("/")[2] or span.name
