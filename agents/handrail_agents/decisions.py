"""What is decided about one tool call before anything runs: pure, no span, no journal, no effect.

In this order: is there such a tool, do the arguments fit, is there a record, does the gate let it through.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from typing import Any

from handrail_agents import contract
from handrail_agents.agent import Agent
from handrail_agents.contract import DecisionRecord
from handrail_agents.errors import InvalidArguments
from handrail_agents.gate import Gate
from handrail_agents.journal import Invocation
from handrail_agents.outcomes import Call
from handrail_agents.signatures import Arguments
from handrail_agents.strict_json import StrictJSONError
from handrail_agents.tools import Tool
from handrail_propagation.conventions import Disposition, Risk

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """A call as it was asked for, by a model or by the agent's own code."""

    tool: str
    arguments: str
    """JSON text, `_decision` included."""
    call_id: str | None = None
    """The model's id for it; `None` when code asked."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A call that could run: all that is needed to run it, or to ask a human about it."""

    tool: Tool[Any, Any]
    arguments: Arguments
    call: Call


@dataclass(slots=True)
class Decision:
    """What is known about a call and what becomes of it. `detail` is for the caller, never for a span."""

    decision_id: str
    tool_name: str
    disposition: Disposition
    detail: str = ""
    tool: Tool[Any, Any] | None = None
    record: DecisionRecord | None = None
    risk: Risk | None = None
    digest: str = ""
    touches: list[str] = field(default_factory=list)
    credential_id: str | None = None
    ready: Ready | None = None
    """Set when nothing but the gate can keep the call from running."""
    let_through: bool = False


def decide(
    agent: Agent[Any, Any], invocation: Invocation, step: int, request: Request, gate: Gate
) -> Decision:
    """Judge one call. Never raises for anything that a model can send."""
    made_up = hashlib.sha256(f"{invocation.run_id}:{invocation.id}:{step}".encode()).hexdigest()[:32]
    tool = agent.tools.get(request.tool)
    # The name of a tool that does not exist is the model's text: it stays out of span names.
    name = tool.name if tool else "unknown"
    decision = Decision(decision_id=made_up, tool_name=name, disposition="executed")
    if tool is None:
        known = ", ".join(agent.tools) or "none"
        return _refuse(decision, "unknown_tool", f"there is no such tool; the tools are: {known}")
    decision.tool = tool
    try:
        parts = contract.split(request.arguments)
        arguments = tool.signature.check_json(parts.arguments)
    except (StrictJSONError, InvalidArguments) as error:
        return _refuse(decision, "invalid_arguments", str(error))
    decision.record = parts.record
    decision.risk = contract.effective_risk(tool.risk, parts.record.risk if parts.record else None)
    decision.digest = hashlib.sha256(arguments.canonical).hexdigest()
    decision.touches = tool.resources(arguments.plain)
    decision.credential_id = tool.credential_id(arguments.plain)
    if parts.record is None and (tool.risk != "read" or parts.problem):
        return _refuse(decision, "no_decision_record", parts.problem or f"{contract.ARGUMENT} is missing")
    call = Call(
        run_id=invocation.run_id,
        invocation=invocation.id,
        step=step,
        agent=agent.name,
        tool=tool.name,
        risk=decision.risk,
        touches=tuple(decision.touches),
        args_digest=decision.digest,
    )
    decision.ready = Ready(tool, arguments, call)
    return _ask(decision, call, gate)


def _ask(decision: Decision, call: Call, gate: Gate) -> Decision:
    """Fails closed: only two answers let a call run, and an exception is a refusal."""
    try:
        verdict = gate.decide(call)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a gate, the call does not run
        _log.error("the gate failed with %s: the call of %s is refused", type(error).__name__, call.tool)
        return _refuse(decision, "denied", f"the gate failed ({type(error).__name__})")
    if verdict == "run":
        return decision
    if verdict == "let_through":
        decision.let_through = True
        return decision
    return _refuse(decision, "awaiting_approval", "waits for a human")


def _refuse(decision: Decision, disposition: Disposition, detail: str) -> Decision:
    decision.disposition = disposition
    decision.detail = detail
    return decision
