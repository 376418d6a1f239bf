"""The tool broker: every tool call goes through here, executed or not, and leaves one `execute_tool` span.

An effect is `started` in the journal (one atomic step), runs, and is `done`; what is started and not done is
never run again unless the tool is idempotent.
"""

from __future__ import annotations

import json
import logging
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from pydantic_core import PydanticSerializationError, to_jsonable_python

from handrail_agents import contract
from handrail_agents.decisions import Decision, Ready, Request, decide
from handrail_agents.models import content
from handrail_agents.outcomes import Approval, InDoubt, Refused, Waiting
from handrail_agents.parking import Stop
from handrail_propagation import conventions as names
from handrail_propagation import emit_event, tracer
from handrail_propagation.conventions import Disposition, ResultStatus
from handrail_propagation.spool import NotRecorded, before_act

if TYPE_CHECKING:
    from handrail_agents.run import Run

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What the caller gets to know of a call. `value` is in JSON form; `detail` says what was wrong."""

    disposition: Disposition
    status: ResultStatus
    value: Any = None
    detail: str = ""
    error_type: str = ""

    def to_text(self) -> str:
        """Return the result as JSON text for the journal."""
        return json.dumps(
            {
                "disposition": self.disposition,
                "status": self.status,
                "value": self.value,
                "detail": self.detail,
                "error_type": self.error_type,
            }
        )

    @classmethod
    def from_text(cls, text: str) -> Result:
        """Return the result that `to_text` wrote."""
        return cls(**json.loads(text))

    def for_model(self) -> str:
        """Return what the model is told, as JSON text."""
        if self.status == "ok":
            return json.dumps(self.value)
        if self.status == "error":
            return json.dumps({"error": {"type": self.error_type, "detail": "the tool failed"}})
        return json.dumps({"error": {"type": self.disposition, "detail": self.detail, "executed": False}})


def perform(run: Run, request: Request, cause: SpanContext | None) -> Result:
    """Judge and, if allowed, execute one call; a call that was completed before gives its recorded result.

    Raises `Stop` when the call must wait for a human, is in doubt or is denied, `JournalError` when it cannot
    be recorded (then it has not run).
    """
    step = run.next_step(f"tool {request.tool!r}")
    finished = run.entry(step, "result")
    if finished is not None:
        return Result.from_text(finished)
    decision = decide(run.agent, run.invocation, step, request, run.gate)
    with ExitStack() as stack:
        span = stack.enter_context(
            tracer().start_as_current_span(
                f"{names.OPERATION_EXECUTE_TOOL} {decision.tool_name}",
                kind=SpanKind.INTERNAL,
                attributes=_attributes(run, decision, request),
                links=[Link(cause, {names.LINK_TYPE: names.LINK_CAUSED_BY_GENERATION})] if cause else None,
                record_exception=False,
                set_status_on_exception=False,
            )
        )
        told = _record(decision)
        if told:
            emit_event(names.EVENT_DECISION, {names.GEN_AI_TOOL_NAME: decision.tool_name, **told}, span=span)
        which = {names.GEN_AI_TOOL_NAME: decision.tool_name, names.TOOL_DISPOSITION: decision.disposition}
        if decision.ready is not None:
            content.record_arguments(
                which, decision.ready.arguments.plain, credential=decision.ready.tool.credential
            )
        try:
            if decision.ready is not None and decision.disposition == "executed":
                result = _execute(run, step, decision.ready, span)
                content.record_result(which, result.value)
                return result
            return _turn_away(run, step, decision, span)
        except Exception as error:
            _fail(span, type(error).__name__)
            raise


def _attributes(run: Run, decision: Decision, request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {
        names.GEN_AI_OPERATION_NAME: names.OPERATION_EXECUTE_TOOL,
        names.GEN_AI_AGENT_NAME: run.agent.name,
        names.GEN_AI_TOOL_NAME: decision.tool_name,
        names.GEN_AI_TOOL_TYPE: "function",
        # What it is if the process dies inside: an executed call is confirmed again below
        names.TOOL_DISPOSITION: decision.disposition,
        names.RUN_ID: run.id,
    }
    if request.call_id:
        found[names.GEN_AI_TOOL_CALL_ID] = request.call_id[:256]
    found |= _record(decision)
    if names.DECISION_RISK not in found and decision.risk is not None:
        found[names.DECISION_RISK] = decision.risk
    if decision.tool is not None and names.DECISION_REVERSIBLE not in found:
        found[names.DECISION_REVERSIBLE] = decision.tool.reversible
    if decision.touches:
        found[names.TOOL_TOUCHES] = decision.touches
    if decision.digest:
        found[names.TOOL_ARGS_DIGEST] = decision.digest
    if decision.credential_id:
        found[names.TOOL_CREDENTIAL_ID] = decision.credential_id
    if decision.let_through:
        found[names.GATE] = "off"
    return found


def _record(decision: Decision) -> dict[str, Any]:
    """Return the decision record's attributes; nothing where there is none."""
    if decision.record is None or decision.risk is None or decision.tool is None:
        return {}
    return contract.attributes(
        decision.decision_id, decision.record, decision.risk, reversible=decision.tool.reversible
    )


def _turn_away(run: Run, step: int, decision: Decision, span: Span) -> Result:
    """The call does not run: tell the model, or stop the run."""
    span.set_attribute(names.TOOL_RESULT_STATUS, "none")
    ready = decision.ready
    if ready is not None and decision.disposition == "awaiting_approval":
        approval = Approval(id=decision.decision_id, call=ready.call)
        span.set_attribute(names.APPROVAL_ID, approval.id)
        # What the human will be shown, and what will run: the validated arguments, nothing else.
        run.record(step, "approval", json.dumps({"id": approval.id, "arguments": ready.arguments.plain}))
        raise Stop(Waiting(approval))
    if ready is not None and decision.disposition == "denied":
        raise Stop(Refused(ready.call, decision.detail))
    result = Result(decision.disposition, "none", detail=decision.detail)
    run.record(step, "result", result.to_text())
    return result


def _execute(run: Run, step: int, ready: Ready, span: Span) -> Result:
    tool = ready.tool
    if ready.call.risk != "read" and (tool.idempotent or run.entry(step, "started") is None):
        try:
            before_act(span)
        except NotRecorded as error:
            return _not_recorded(run, step, ready, span, error)
    before = run.record(step, "started", ready.call.args_digest)
    if before is not None and not (tool.idempotent or tool.risk == "read"):
        span.set_attributes({names.TOOL_DISPOSITION: "in_doubt", names.TOOL_RESULT_STATUS: "none"})
        raise Stop(InDoubt(ready.call))
    try:
        value = tool.function(**ready.arguments.values)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it raises, the caller is told; the run goes on
        result = Result("executed", "error", error_type=type(error).__name__)
        _fail(span, result.error_type)
        _log.error("tool %s failed with %s\n%s", tool.name, result.error_type, where(error))
    else:
        result = Result("executed", "ok", value=_plain(value))
    span.set_attribute(names.TOOL_RESULT_STATUS, result.status)
    run.note(step, "result", result.to_text())
    return result


def _not_recorded(run: Run, step: int, ready: Ready, span: Span, error: NotRecorded) -> Result:
    """Record before act: what would leave no trace if this process died now is not done."""
    _log.error("the call of %s is not made: %s", ready.tool.name, error)
    span.set_attributes({names.TOOL_DISPOSITION: "not_recorded", names.TOOL_RESULT_STATUS: "none"})
    result = Result("not_recorded", "none", detail="the call could not be recorded, so it was not made")
    run.record(step, "result", result.to_text())
    return result


def _plain(value: Any) -> Any:
    """Return a result's JSON form; what has none becomes its type's name, since the effect has happened."""
    try:
        return to_jsonable_python(
            value, fallback=lambda one: f"<{type(one).__name__}>", inf_nan_mode="null", bytes_mode="base64"
        )
    except (PydanticSerializationError, ValueError, RecursionError):
        return f"<{type(value).__name__}>"


def _fail(span: Span, error_type: str) -> None:
    # The type only: an exception's text may hold arguments or content.
    span.set_attribute(names.ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR, error_type))


def where(error: BaseException) -> str:
    """Return the frames of a traceback without the exception's text, which may hold content."""
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()
