"""Agents whose effects leave a line with their span's id in a file, so that a test can ask the spool for each."""

from __future__ import annotations

import os
import signal
import threading

from celery import Celery
from opentelemetry import trace

from handrail_agents import Agents, DecisionRecord, Run
from handrail_propagation import HandrailError

app = Celery("keeper", broker=os.environ["HANDRAIL_REDIS_URL"])
app.conf.worker_lost_wait = 0.5
ops = Agents(app, queue_prefix=os.environ["TEST_QUEUE_PREFIX"])
WHY = DecisionRecord(
    intent="Leave a line.", why="A test counts it.", context_source="operator", risk="write", reversible=True
)


def _effect(what: str) -> None:
    span_id = trace.get_current_span().get_span_context().span_id
    descriptor = os.open(os.environ["TEST_EFFECTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{what} {span_id:016x}\n".encode())
    os.close(descriptor)


@ops.tool(risk="write", reversible=True)
def note() -> list[str]:
    """Leave a line."""
    _effect("note")
    return [thread.name for thread in threading.enumerate()]


@ops.tool(risk="read")
def look() -> str:
    """Look at something."""
    _effect("look")
    return "seen"


@ops.tool(risk="write")
def fatal() -> None:
    """Leave a line and die."""
    _effect("fatal")
    os.kill(os.getpid(), signal.SIGKILL)


@ops.agent(tools=[note, look])
def keeper(run: Run, times: int) -> list[str]:
    """Leave lines; say which threads there are."""
    names: list[str] = []
    for _ in range(times):
        run.call(look)
        names = run.call(note, decision=WHY)
    return names


@ops.agent(tools=[note, look])
def careful(run: Run) -> dict[str, str]:
    """Try to leave a line, and look whatever becomes of that."""
    try:
        run.call(note, decision=WHY)
        became = "done"
    except HandrailError as error:
        became = type(error).__name__
    return {"note": became, "look": run.call(look)}


@ops.agent(tools=[fatal])
def doomed(run: Run) -> None:
    """Do what kills the worker."""
    run.call(fatal, decision=WHY)
