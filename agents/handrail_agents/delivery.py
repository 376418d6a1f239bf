"""One delivery of a message for an agent: advance its invocation if it can be advanced, else do nothing.

Start and wake messages are treated alike, so that a message delivered twice, late or in another order does
no harm.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import get_current_span
from pydantic_core import to_jsonable_python

from handrail_agents import lease
from handrail_agents.agent import Agent
from handrail_agents.broker import where
from handrail_agents.errors import BrokerError, HandrailError, InvalidArguments, JournalError, LeaseLost
from handrail_agents.handoff import BadHeader, Header
from handrail_agents.journal import Invocation, Journal, Segment, Wake
from handrail_agents.outcomes import Done, Failed, Outcome
from handrail_agents.parking import Leave, Stop
from handrail_agents.run import Run
from handrail_agents.segments import fail, segment_span
from handrail_agents.sending import send_wake
from handrail_agents.spancontext import to_text
from handrail_propagation import conventions as names
from handrail_propagation import run_context
from handrail_propagation.redaction import redact

if TYPE_CHECKING:
    from handrail_agents.registry import Agents

_log = logging.getLogger(__name__)

MESSAGE_MAX_CHARS = 512
_BUSY_SECONDS = 2 * lease.SECONDS
_PAUSE_SECONDS = 1.0
LOST_MAX = 3
"""So often a worker may die in one invocation before it is given up: what kills one worker kills them all."""


def deliver(ops: Agents, agent: Agent[Any, Any], request: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Handle one delivery. Raises celery's `Reject` for a message that is dropped or must come again."""
    from celery.exceptions import Reject

    if getattr(request, "is_eager", False):
        raise HandrailError(
            "task_always_eager runs an agent without a message, so nothing is handed off; unset it"
        )
    try:
        header = _header(ops, agent, request)
        get_current_span().set_attribute(names.RUN_ID, header.run_id)
        redelivered = bool((request.delivery_info or {}).get("redelivered"))
        _advance(ops, agent, header, args, kwargs, redelivered=redelivered)
    except BadHeader as error:
        _log.error("agent %s: %s", agent.name, error)
        raise Reject(str(error), requeue=False) from None
    except LeaseLost as error:
        # Whoever has the lease now goes on; this message has nothing left to do.
        _log.warning("agent %s: %s", agent.name, error)
    except (JournalError, BrokerError) as error:
        _log.error("agent %s: %s; the message goes back to its queue", agent.name, error)
        time.sleep(_PAUSE_SECONDS)
        raise Reject(str(error), requeue=True) from None


def _header(ops: Agents, agent: Agent[Any, Any], request: Any) -> Header:
    value = getattr(request, names.HEADER_HANDRAIL, None)
    if value is not None:
        return Header.parse(value)
    # A plain Celery message starts a run of its own; a redelivery of it must find the same run again.
    run_id = hashlib.sha256(f"task:{request.id}".encode()).hexdigest()[:32]
    ops.journal.open(Invocation(run_id, run_id, agent.name))
    return Header("start", run_id, run_id)


def _advance(
    ops: Agents,
    agent: Agent[Any, Any],
    header: Header,
    args: Any,
    kwargs: dict[str, Any],
    *,
    redelivered: bool,
) -> None:
    holder = lease.new_holder()
    segment = _begin(ops.journal, agent, header, holder, redelivered=redelivered)
    if segment.invocation is not None:
        wake = _run_segment(ops, agent, header, holder, segment, segment.invocation, args, kwargs)
    elif segment.began == "finished":
        # The wake for its parent may have been lost with the worker that finished it.
        wake = ops.journal.settled_again(header.run_id, header.invocation)
    elif segment.began == "unknown":
        raise BadHeader(
            f"the journal knows no invocation {header.invocation} of this agent (forged, older than the "
            "journal keeps, or another journal than the sender's); message dropped"
        )
    else:
        _log.info("invocation %s is %s: nothing to do", header.invocation, segment.began)
        return
    if wake is not None:
        send_wake(ops.app, header.run_id, wake, queue=ops.queue_of(wake.agent))


def _begin(
    journal: Journal, agent: Agent[Any, Any], header: Header, holder: str, *, redelivered: bool
) -> Segment:
    """Take the lease. Only a redelivered message waits for it; a copy is covered by the holder's own."""
    from celery.exceptions import Reject

    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        segment = journal.begin(header.run_id, header.invocation, agent.name, holder)
        if segment.began != "busy" or not redelivered:
            return segment
        if time.monotonic() > deadline:
            raise Reject("another worker is at this invocation", requeue=True)
        time.sleep(_PAUSE_SECONDS)


def _run_segment(
    ops: Agents,
    agent: Agent[Any, Any],
    header: Header,
    holder: str,
    segment: Segment,
    known: Invocation,
    args: Any,
    kwargs: dict[str, Any],
) -> Wake | None:
    run_id, invocation, journal = header.run_id, header.invocation, ops.journal
    settled = False
    try:
        with run_context(run_id), lease.Heartbeat(lambda: journal.renew(run_id, invocation, holder)):
            with segment_span(known, segment.number, segment.entries, woken=header.kind == "wake") as span:
                here = to_text(span.get_span_context())
                journal.record(run_id, invocation, holder, f"segment:{segment.number}", here)
                outcome: Outcome | None
                if (lost := _lost_segments(segment)) >= LOST_MAX:
                    outcome = Failed("WorkerLost", f"the worker died {lost} times in agent {agent.name!r}")
                else:
                    arguments = _arguments(agent, journal, header, segment.entries, args, kwargs)
                    run = Run(ops, agent, known, holder, segment.entries)
                    outcome = _outcome(agent, run, arguments)
                if isinstance(outcome, Failed):
                    fail(span, outcome.error_type)
            settled = True
            return None if outcome is None else journal.settle(run_id, invocation, holder, outcome)
    finally:
        if not settled:
            _release(journal, header, holder)


def _lost_segments(segment: Segment) -> int:
    """Count the segments in which the worker died: they began, and neither parked nor ended."""
    entries = segment.entries
    return sum(f"segment:{at}" in entries and f"ended:{at}" not in entries for at in range(1, segment.number))


def _release(journal: Journal, header: Header, holder: str) -> None:
    try:
        journal.release(header.run_id, header.invocation, holder)
    except JournalError as error:
        _log.warning("%s", error)


def _arguments(
    agent: Agent[Any, Any],
    journal: Journal,
    header: Header,
    entries: Mapping[str, str],
    args: Any,
    kwargs: dict[str, Any],
) -> dict[str, Any] | InvalidArguments:
    """Return the arguments that the invocation was started with, checked; a wake does not carry them."""
    try:
        if "arguments" in entries:
            return agent.signature.check_json(entries["arguments"]).values
        checked = agent.signature.check(agent.signature.named(tuple(args), kwargs))
    except InvalidArguments as error:
        return error
    journal.note(header.run_id, header.invocation, "arguments", json.dumps(checked.plain))
    return checked.values


def _outcome(
    agent: Agent[Any, Any], run: Run, arguments: dict[str, Any] | InvalidArguments
) -> Outcome | None:
    """Run the agent's function; return `None` when it has parked."""
    left: BaseException | None
    try:
        if isinstance(arguments, InvalidArguments):
            raise arguments
        value = to_jsonable_python(agent.function(run, **arguments), inf_nan_mode="null", bytes_mode="base64")
        left = run.left
    except Leave as leave:
        left = run.left or leave
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever an agent raises is the run's outcome
        left = run.left or error
    if left is None:
        return Done(value)
    if isinstance(left, Stop):
        return left.outcome
    if isinstance(left, Leave):
        return None
    if isinstance(left, (JournalError, BrokerError)):
        raise left
    kind = type(left).__name__
    if isinstance(left, HandrailError):
        _log.error("agent %s failed: %s", agent.name, redact(str(left), MESSAGE_MAX_CHARS))
    else:
        _log.error("agent %s failed with %s\n%s", agent.name, kind, where(left))
    return Failed(kind, redact(str(left), MESSAGE_MAX_CHARS))
