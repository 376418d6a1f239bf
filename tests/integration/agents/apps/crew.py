"""Agents for the tests of runs: a small office for whole runs, and two puppets that do what a test tells them.

Every effect leaves a line in a Redis list, so that a test can count how often it happened.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from celery import Celery

from handrail_agents import Agents, Delegation, Failed, Run, Scripted
from handrail_agents.gate import Gate
from handrail_agents.models import Message, Reply, call, say
from handrail_agents.models.scripted import Turn
from handrail_propagation import HandrailError

PREFIX = os.environ["TEST_QUEUE_PREFIX"]
app = Celery("crew", broker=os.environ["HANDRAIL_REDIS_URL"])
app.conf.worker_lost_wait = 0.5  # Celery's 10 s are how long it waits for the result of a child that is gone
ops = Agents(
    app,
    queue_prefix=PREFIX,
    gate="off" if os.environ.get("TEST_GATE") == "off" else "on",
    journal=os.environ.get("TEST_JOURNAL"),
)
store = redis.Redis.from_url(os.environ["HANDRAIL_REDIS_URL"], decode_responses=True)


def effect(key: str, text: str = "") -> int:
    """Leave a trace of having run; return how many there are now."""
    count = int(store.rpush(f"{PREFIX}effects:{key}", text or str(os.getpid())))  # type: ignore[arg-type]
    store.expire(f"{PREFIX}effects:{key}", 600)
    return count


@ops.tool(risk="write", reversible=True, touches="log://{key}")
def note(key: str, text: str = "") -> str:
    """Add a line to a log."""
    return f"line {effect(key, text)}"


@ops.tool(risk="read", touches="log://{key}")
def look(key: str) -> str:
    """Look at something."""
    effect(key)
    return f"a look at {key}"


@ops.tool(risk="destructive", touches="db://{key}")
def wipe(key: str) -> str:
    """Delete everything."""
    effect(key)
    return "gone"


@ops.tool(risk="access_change", touches="role://{key}")
def grant(key: str) -> str:
    """Give somebody a right."""
    effect(key)
    return "granted"


@ops.tool
def undeclared(key: str) -> str:
    """A tool of which nothing is said."""
    effect(key)
    return "done"


@ops.tool(risk="write", credential="token")
def publish(text: str, token: str, notes: dict[str, str] | None = None) -> dict[str, str]:
    """Hand something to a service; gives everything back."""
    return {"text": text, "token": token}


@ops.tool(risk="read")
def explode(text: str) -> str:
    """Always fails, quoting its argument."""
    raise OSError(f"could not read {text}")


@ops.tool(risk="read")
def leave(key: str) -> str:
    """Ends the interpreter, as a careless library would."""
    effect(key)
    sys.exit(3)


def die_once(key: str, most: int) -> str:
    count = effect(key)
    if count <= most:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"time {count}"


@ops.tool(risk="write", touches="log://{key}")
def fatal(key: str, most: int = 1) -> str:
    """The worker is killed in the middle of it, the first `most` times."""
    return die_once(key, most)


@ops.tool(risk="write", idempotent=True)
def fatal_idempotent(key: str, most: int = 1) -> str:
    """As `fatal`, but may run again."""
    return die_once(key, most)


@ops.tool(risk="read")
def fatal_read(key: str, most: int = 1) -> str:
    """As `fatal`, without an effect."""
    return die_once(key, most)


@ops.tool(risk="read")
def hold(key: str) -> str:
    """Say that it has begun, then wait until the test lets it go on."""
    effect(key)
    deadline = time.monotonic() + 150  # meanwhile a test may wait for a warm stop, of half a minute at worst
    while not store.exists(f"{PREFIX}go:{key}"):
        if time.monotonic() > deadline:
            raise TimeoutError(key)
        time.sleep(0.02)
    return "held"


TOOLS = [
    note,
    look,
    wipe,
    grant,
    undeclared,
    publish,
    explode,
    leave,
    fatal,
    fatal_idempotent,
    fatal_read,
    hold,
]


# --- A small office --------------------------------------------------------------------------------------

RECORD = {
    "intent": "Keep what was measured",
    "why": "The operator asked for a written record of every host",
    "context_source": "delegation",
    "risk": "write",
    "reversible": True,
}


@ops.agent(
    tools=[note],
    model=Scripted([call("note", {"key": "office", "text": "7 GB"}, decision=RECORD), say("written")]),
)
def scribe(run: Run, topic: str) -> str:
    """Keep the log."""
    return f"{run.loop(f'Write down what is known about {topic}.')}: {topic}"


@ops.agent(tools=[look])
def scout(run: Run, host: str) -> str:
    """Measure one host."""
    return str(run.call(look, key=host))


@ops.agent(
    delegates=[scout, scribe],
    model=Scripted(
        [
            Turn(
                calls=(
                    (
                        "delegate_to_scout",
                        '{"host": "db-7", "_reason": "measure before anything is planned"}',
                    ),
                )
            ),
            Turn(
                calls=(
                    ("delegate_to_scribe", '{"topic": "costs", "_reason": "both summaries at once"}'),
                    ("delegate_to_scribe", '{"topic": "risks", "_reason": "both summaries at once"}'),
                )
            ),
            say("planned"),
        ]
    ),
)
def planner(run: Run, host: str) -> str:
    """Measure a host, then write two summaries at once."""
    return run.loop(f"Make a plan for {host}.")


# --- Puppets ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FromPrompt:
    """Plays the script that is the prompt: turns, each a list of `[tool, arguments as JSON text]`.

    After the last turn it says what it was told by all calls, as JSON.
    """

    model: str = "puppet"
    provider: str = "handrail.puppet"
    remote: bool = False

    def generate(self, messages: Sequence[Message], tools: Sequence[Any]) -> Reply:
        prompt = next(message.content for message in messages if message.role == "user")
        turns = [Turn(calls=tuple((name, text) for name, text in turn)) for turn in json.loads(prompt)]
        told = [json.loads(message.content) for message in messages if message.role == "tool"]
        return Scripted([*turns, say(json.dumps(told))]).generate(messages, tools)


@ops.agent(tools=TOOLS, delegates=["scout", "hand", "nobody"], model=FromPrompt())
def puppet(run: Run, script: list[list[list[str]]], max_turns: int = 10) -> Any:
    """Do what the script says; return what was told."""
    return json.loads(run.loop(json.dumps(script), max_turns=max_turns))


@ops.agent(tools=TOOLS)
def hand(
    run: Run, calls: list[list[Any]], decision: dict[str, Any] | None = None, catch: bool = False
) -> list[Any]:
    """Make calls from code, each `[tool, arguments]`; return the results, errors by type and text."""
    results: list[Any] = []
    for name, arguments in calls:
        try:
            if decision is not None:
                arguments = {**arguments, "_decision": decision}
            results.append(run.call(name, **arguments))
        except HandrailError as error:
            if not catch:
                raise
            results.append([type(error).__name__, str(error)])
    return results


@ops.agent(tools=TOOLS, delegates=["hand", "scout", "missing"])
def boss(
    run: Run, before: str, calls: list[list[Any]], after: str, decision: dict[str, Any] | None = None
) -> Any:
    """One effect, a hand-off, another effect: what a duplicate must not do twice."""
    first = run.call(note, key=before, _decision=RECORD)
    found = run.delegate(
        Delegation("hand", {"calls": calls, "decision": decision}), reason="somebody else does the work"
    )
    if isinstance(found, Failed):
        found = {"error_type": found.error_type, "message": found.message}
    return [first, found, run.call(note, key=after, _decision=RECORD)]


@ops.agent(delegates=["missing"])
def lost(run: Run) -> Any:
    """Delegate to an agent that the worker of its queue does not have."""
    found = run.delegate(Delegation("missing", {}))
    return [found.error_type, found.message] if isinstance(found, Failed) else found


@ops.agent
def stranger(run: Run) -> Any:
    """Delegate to somebody who is not in delegates=."""
    return run.delegate(scout(host="db-7"))


@ops.agent(tools=[note, look], delegates=[scout])
def fickle(run: Run, key: str) -> Any:
    """Asks for something else on every replay: not pure."""
    if effect(f"{key}-replays") == 1:
        run.call(look, key=key)
    else:
        run.call(note, key=key, _decision=RECORD)
    return run.delegate(scout(host="db-7"))


@ops.agent
def impatient(run: Run) -> str:
    """Waits for a run of its own in a task, which is refused."""
    job = ops.send("scout", host="db-7")
    try:
        return str(job.result(timeout=1))
    except HandrailError as error:
        return str(error)


@ops.agent(tools=[wipe, note])
def stubborn(run: Run, key: str) -> Any:
    """Tries to go on after it was stopped."""
    for _ in range(3):
        try:
            run.call(wipe, key=key, _decision={**RECORD, "risk": "destructive"})
        except BaseException:  # noqa: BLE001, S112 - that is what is tested
            continue
    return "I went on"


@dataclass(frozen=True, slots=True)
class Broken:
    """A model that raises something of its own."""

    model: str = "broken"
    provider: str = "handrail.broken"

    def generate(self, messages: Sequence[Message], tools: Sequence[Any]) -> Reply:
        raise ValueError("text of the provider with a canary-of-the-model in it")


@ops.agent(model=Broken())
def speechless(run: Run) -> str:
    """Has a model that fails."""
    return run.loop("Say something.")


@ops.agent
def brainless(run: Run) -> str:
    """Has no model."""
    return run.loop("Say something.")


class FailingGate(Gate):
    """Fails where it should decide."""

    def decide(self, call: Any) -> Any:
        raise RuntimeError("the gate's own bug")


if os.environ.get("TEST_GATE") == "broken":
    ops.gate = FailingGate()
