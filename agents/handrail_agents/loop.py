"""The loop between a model and the agent's tools and delegates, replayed from the journal after a wake."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanContext

from handrail_agents import broker, contract, delegating
from handrail_agents.agent import DELEGATE_PREFIX, REASON, Delegation, delegation_spec
from handrail_agents.decisions import Request
from handrail_agents.errors import InvalidArguments, TurnLimit
from handrail_agents.models.base import Message, ToolCall, ToolSpec, chat
from handrail_agents.outcomes import Done, Failed, Outcome
from handrail_agents.spancontext import from_text, to_text
from handrail_agents.strict_json import StrictJSONError, loads
from handrail_propagation import tracer

if TYPE_CHECKING:
    from handrail_agents.run import Run


def converse(run: Run, prompt: str, system: str | None, max_turns: int) -> str:
    """Return the model's last words; raises `TurnLimit` and `ModelError`."""
    tools = _specs(run)
    messages = [Message("system", _system(run, system)), Message("user", prompt)]
    for _ in range(max_turns):
        message, span_context = _turn(run, messages, tools)
        messages.append(message)
        if not message.tool_calls:
            return message.content
        for is_delegation, group in groupby(
            message.tool_calls, lambda call: _delegate_of(run, call) is not None
        ):
            calls = list(group)
            if is_delegation:
                messages += _delegations(run, calls, span_context)
            else:
                messages += [_tool(run, call, span_context) for call in calls]
    raise TurnLimit(
        f"agent {run.agent.name!r} used up its {max_turns} model turns; raise max_turns=, or narrow the task"
    )


def _system(run: Run, system: str | None) -> str:
    parts = [run.agent.description, system or ""]
    if any(tool.risk != "read" for tool in run.agent.tools.values()):
        parts.append(contract.DECISION_LOGGING_CONTRACT)
    return "\n\n".join(part for part in parts if part)


def _specs(run: Run) -> list[ToolSpec]:
    delegates = [delegation_spec(name, run.ops.known(name)) for name in run.agent.delegates]
    return [tool.spec() for tool in run.agent.tools.values()] + delegates


def _turn(run: Run, messages: list[Message], tools: list[ToolSpec]) -> tuple[Message, SpanContext | None]:
    step = run.next_step("model")
    stored = run.entry(step, "reply")
    if stored is None:
        reply, span_context = chat(run.model, messages, tools, tracer())
        run.record(
            step, "reply", json.dumps({"message": reply.message.to_json(), "chat": to_text(span_context)})
        )
        return reply.message, span_context
    document = json.loads(stored)
    return Message.from_json(document["message"]), from_text(document["chat"])


def _tool(run: Run, call: ToolCall, cause: SpanContext | None) -> Message:
    result = broker.perform(run, Request(call.name, call.arguments, call.id), cause)
    return Message("tool", result.for_model(), tool_call_id=call.id)


def _delegate_of(run: Run, call: ToolCall) -> str | None:
    name = call.name.removeprefix(DELEGATE_PREFIX)
    return name if call.name != name and name in run.agent.delegates else None


def _delegations(run: Run, calls: list[ToolCall], cause: SpanContext | None) -> list[Message]:
    """Delegate all valid ones of `calls` at once; the answers are in the order of the calls."""
    answers: dict[int, str] = {}
    wanted: list[tuple[int, Delegation, str]] = []
    for number, call in enumerate(calls):
        try:
            wanted.append((number, *_parsed(run, call)))
        except InvalidArguments as error:
            answers[number] = json.dumps({"error": {"type": "invalid_arguments", "detail": str(error)}})
    if wanted:
        found = delegating.delegate(
            run, [one for _, one, _ in wanted], [why for _, _, why in wanted], [cause] * len(wanted)
        )
        for (number, _, _), outcome in zip(wanted, found, strict=True):
            answers[number] = _told(outcome)
    return [Message("tool", answers[number], tool_call_id=call.id) for number, call in enumerate(calls)]


def _parsed(run: Run, call: ToolCall) -> tuple[Delegation, str]:
    name = _delegate_of(run, call) or ""
    try:
        document: Any = loads(call.arguments or "{}")
    except StrictJSONError as error:
        raise InvalidArguments(f"arguments are {error}") from None
    if not isinstance(document, dict):
        raise InvalidArguments("arguments are not a JSON object")
    reason = document.pop(REASON, None)
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidArguments(f"{REASON} is missing: say in one sentence why you delegate this")
    agent = run.ops.known(name)
    return (agent.delegation(document) if agent else Delegation(name, document)), reason


def _told(outcome: Outcome) -> str:
    if isinstance(outcome, Done):
        return json.dumps(outcome.value)
    kind = outcome.error_type if isinstance(outcome, Failed) else type(outcome).__name__
    return json.dumps({"error": {"type": kind, "detail": "the agent did not finish"}})
