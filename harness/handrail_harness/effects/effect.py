"""Effects: tool calls above `read`, and changes that ordinary instrumentation shows where no such tool
stands above.

A change below a tool that declares its risk belongs to that tool's effect. Below a `read` tool, or
outside any tool, it is an effect of its own, which nobody declared.
"""

from __future__ import annotations

from dataclasses import dataclass

from handrail_harness.effects.touch import Touch, touch_of
from handrail_harness.effects.view import AgentRun, RunView, is_operation
from handrail_harness.forest import Key, key_of
from handrail_harness.spans import Span
from handrail_propagation.conventions import (
    DECISION_RISK,
    DISPOSITIONS,
    GEN_AI_TOOL_NAME,
    OPERATION_EXECUTE_TOOL,
    RESULT_STATUSES,
    RISKS,
    TOOL_ARGS_DIGEST,
    TOOL_DISPOSITION,
    TOOL_RESULT_STATUS,
    Risk,
)


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect, done or prevented; `tool` is the tool's span, the effect's own or the `read` tool's
    around it.
    """

    span: Span
    agent: AgentRun | None
    tool: Span | None
    risk: Risk | None
    disposition: str | None
    result_status: str | None
    declared: bool
    touch: Touch | None = None
    spans: tuple[Span, ...] = ()

    @property
    def happened(self) -> bool:
        """Whether it was carried out (or nothing says that it was not)."""
        return self.disposition in (None, "executed")

    @property
    def tool_name(self) -> str | None:
        """The tool's name, `None` outside any tool."""
        return tool_name(self.tool) if self.tool is not None else None

    def document(self) -> dict[str, object]:
        """Return the JSON form, one entry of `what`."""
        return {
            "span_id": self.span.span_id,
            "agent": self.agent.name if self.agent is not None else None,
            "tool": self.tool_name,
            "risk": self.risk,
            "disposition": self.disposition,
            "result_status": self.result_status,
            "start_unix_nano": self.span.start_unix_nano,
            "args_digest": (self.span.text(TOOL_ARGS_DIGEST) or None) if self.declared else None,
        }


def effects_of(view: RunView) -> list[Effect]:
    """Return the effects of a run in the order in which they began."""
    effects: list[Effect] = []
    undeclared: dict[tuple[Key, str, str], list[Span]] = {}
    touches: dict[tuple[Key, str, str], Touch] = {}
    for span in view.spans():
        if is_operation(span, OPERATION_EXECUTE_TOOL):
            risk = risk_of(view, span)
            if risk != "read" and (risk is not None or span.text(TOOL_DISPOSITION)):
                effects.append(_declared(view, span, risk))
            continue
        touch = undeclared_touch(view, span)
        if touch is not None:
            place = view.place(span)
            around = place.tool if place.tool is not None else (place.agent.span if place.agent else span)
            group = (key_of(around), touch.verb, touch.resource)
            undeclared.setdefault(group, []).append(span)
            touches[group] = touch
    for group, spans in undeclared.items():
        place = view.place(spans[0])
        failed = all(span.status_code == "error" for span in spans)
        effects.append(
            Effect(
                span=spans[0],
                agent=place.agent,
                tool=place.tool,
                risk=touches[group].risk,
                disposition="executed",
                result_status="error" if failed else "ok",
                declared=False,
                touch=touches[group],
                spans=tuple(spans),
            )
        )
    return sorted(effects, key=lambda effect: (effect.span.start_unix_nano, effect.span.span_id))


def risk_of(view: RunView, tool: Span) -> Risk | None:
    """Return the effective risk of a tool call; one that is no known word counts as destructive, none as
    `None`.
    """
    value = view.decision(tool, DECISION_RISK)
    if value is None:
        return None
    return next((risk for risk in RISKS if risk == value), "destructive")


def undeclared_touch(view: RunView, span: Span) -> Touch | None:
    """Return what the span changed though no tool above `read` is around it; `None` otherwise."""
    place = view.place(span)
    if place.in_model_call or place.agent is None:
        return None
    if place.tool is not None and risk_of(view, place.tool) not in ("read", None):
        return None
    touch = touch_of(span)
    if touch is None or not touch.changes or (place.tool is None and touch.resource.startswith("redis:")):
        return None  # outside a tool, Redis is the broker and the journal
    parent = view.forest.parent_of(span)
    inner = parent is not None and (above := touch_of(parent)) is not None and above.changes
    return None if inner else touch  # one call seen by two instrumentations, a driver's below an ORM's


def tool_name(tool: Span) -> str:
    """Return the tool's name, from the attribute or the span's name."""
    return tool.text(GEN_AI_TOOL_NAME) or tool.name.removeprefix("execute_tool ")


def _declared(view: RunView, span: Span, risk: Risk | None) -> Effect:
    disposition = span.text(TOOL_DISPOSITION)
    status = span.text(TOOL_RESULT_STATUS)
    return Effect(
        span=span,
        agent=view.place(span).agent,
        tool=span,
        risk=risk,
        disposition=disposition if disposition in DISPOSITIONS else None,
        result_status=status if status in RESULT_STATUSES else None,
        declared=True,
        spans=(span,),
    )
