"""Agents in a line: `first` hands over to `second` or `third`, which waits if asked to, and then has one effect.

What happens outside of the trace is in files, so that the brokers may come and go.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import redis
from celery import Celery

from handrail_agents import Agents, Delegation, Run

FOLDER = Path(os.environ.get("TEST_FOLDER", "."))
app = Celery("line", broker=os.environ["CELERY_BROKER_URL"])
app.conf.worker_lost_wait = 0.5  # Celery's 10 s are how long it waits for the result of a child that is gone
app.conf.broker_connection_retry_on_startup = True
ops = Agents(app, queue_prefix=os.environ["TEST_QUEUE_PREFIX"], journal=os.environ.get("TEST_JOURNAL"))

RECORD = {
    "intent": "Keep what was measured",
    "why": "The operator asked for a written record",
    "context_source": "operator",
    "risk": "write",
    "reversible": True,
}


@ops.tool(risk="write", reversible=True, touches="log://{key}")
def note(key: str) -> str:
    """Add a line to a log."""
    with open(FOLDER / f"{key}.effects", "a") as file:
        file.write(f"{os.getpid()}\n")
    return "noted"


@ops.tool(risk="read", touches="log://{key}")
def look(key: str) -> str:
    """Say that it has begun, then wait until the test lets it go on."""
    (FOLDER / f"{key}.begun").touch()
    deadline = time.monotonic() + 120
    while not (FOLDER / f"{key}.go").exists():
        if time.monotonic() > deadline:
            raise TimeoutError(key)
        time.sleep(0.02)
    return "seen"


def caller_left(run: Run) -> None:
    """Wait until `first` is parked: a child that is quicker than that, on another worker, needs no wake."""
    with redis.Redis.from_url(os.environ["TEST_JOURNAL"]) as journal:
        deadline = time.monotonic() + 60
        while journal.hget(f"handrail:{{{run.id}}}:{run.id}", "state") in (b"open", b"running"):
            if time.monotonic() > deadline:
                raise TimeoutError("first does not park")
            time.sleep(0.01)


def keep(run: Run, key: str, wait: bool) -> str:
    """Look, if that is asked for, then write one line."""
    if wait:
        run.call(look, key=key)
    return str(run.call(note, key=key, _decision=RECORD))


@ops.agent(tools=[note, look])
def second(run: Run, key: str, wait: bool = False) -> str:
    """Keep the log."""
    return keep(run, key, wait)


@ops.agent(tools=[note, look])
def third(run: Run, key: str, wait: bool = False) -> str:
    """As `second`: for the workers that one test starts and breaks."""
    caller_left(run)
    return keep(run, key, wait)


@ops.agent(delegates=[second, third])
def first(run: Run, key: str, wait: bool = False, to: str = "second") -> str:
    """Hand over."""
    return str(run.delegate(Delegation(to, {"key": key, "wait": wait}), reason="somebody else keeps the log"))
