"""What a run touched: each resource, how, whether it can be undone, by which agents, with which credential.

From two witnesses: what a tool says that it touches, and what the spans of ordinary instrumentation below
it show.
"""

from __future__ import annotations

from dataclasses import dataclass

from handrail_harness.effects import RunView
from handrail_harness.effects.effect import risk_of
from handrail_harness.effects.touch import touch_of, without_secrets
from handrail_harness.effects.view import is_operation
from handrail_harness.spans import Span
from handrail_propagation.conventions import (
    DECISION_REVERSIBLE,
    OPERATION_EXECUTE_TOOL,
    TOOL_CREDENTIAL_ID,
    TOOL_DISPOSITION,
    TOOL_TOUCHES,
    Risk,
)

_VERBS: dict[Risk, str] = {
    "read": "read",
    "write": "write",
    "external": "send",
    "access_change": "change_access",
    "destructive": "destroy",
}


@dataclass(frozen=True, slots=True)
class Touched:
    """One resource as one tool call (or one agent, outside any tool) touched it."""

    resource: str
    verb: str
    risk: Risk
    reversible: bool | None
    agent_path: tuple[str, ...]
    credential_id: str | None
    span: Span

    def document(self) -> dict[str, object]:
        """Return the JSON form, one entry of `touched`."""
        return {
            "resource": self.resource,
            "verb": self.verb,
            "reversible": self.reversible,
            "agent_path": list(self.agent_path),
            "credential_id": self.credential_id,
            "span_id": self.span.span_id,
        }


def touched_by(view: RunView) -> list[Touched]:
    """Return what was touched, in order of time; a resource once for each tool call and verb."""
    found: dict[tuple[int, str, str], Touched] = {}
    for span in view.spans():
        for one in (
            _of_tool(view, span) if is_operation(span, OPERATION_EXECUTE_TOOL) else _of_ordinary(view, span)
        ):
            place = view.place(span)
            around = place.tool if place.tool is not None else place.agent
            found.setdefault((id(around), one.resource, one.verb), one)
    return list(found.values())


def _of_tool(view: RunView, span: Span) -> list[Touched]:
    if span.text(TOOL_DISPOSITION) not in ("executed", "in_doubt", ""):
        return []
    resources = span.attributes.get(TOOL_TOUCHES)
    risk = risk_of(view, span) or "read"
    return [
        _touched(view, span, resource=_safe(resource), verb=_VERBS[risk], risk=risk)
        for resource in (resources if isinstance(resources, list) else [])
        if isinstance(resource, str) and resource
    ]


def _of_ordinary(view: RunView, span: Span) -> list[Touched]:
    place = view.place(span)
    if place.agent is None or place.in_model_call:
        return []
    touch = touch_of(span)
    if touch is None or (place.tool is None and touch.resource.startswith("redis:")):
        return []
    return [_touched(view, span, resource=touch.resource, verb=touch.verb, risk=touch.risk)]


def _touched(view: RunView, span: Span, *, resource: str, verb: str, risk: Risk) -> Touched:
    place = view.place(span)
    reversible = view.decision(place.tool, DECISION_REVERSIBLE) if place.tool is not None else None
    credential = place.tool.text(TOOL_CREDENTIAL_ID) if place.tool is not None else ""
    return Touched(
        resource=resource,
        verb=verb,
        risk=risk,
        reversible=reversible if isinstance(reversible, bool) and risk != "read" else None,
        agent_path=tuple(place.agent.path()) if place.agent is not None else (),
        credential_id=credential or None,
        span=span,
    )


def _safe(resource: str) -> str:
    """Return a declared resource without the password that an application may have filled in."""
    return (without_secrets(resource) or resource) if "@" in resource and "://" in resource else resource
