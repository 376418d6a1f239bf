"""One agent that handles what must not get out: in its prompt, in calls, in results and in an exception."""

from __future__ import annotations

import os

from celery import Celery

from handrail_agents import Agents, Run, Scripted
from handrail_agents.models import call, calls, say

app = Celery("vault", broker=os.environ["HANDRAIL_REDIS_URL"])
ops = Agents(app, queue_prefix=os.environ["TEST_QUEUE_PREFIX"])


@ops.tool(risk="read")
def look_up(name: str) -> dict[str, str]:
    """Look a customer up."""
    return {"note": f"canary-result of {name}", "password": "hunter2-canary"}


@ops.tool(risk="write", reversible=True, credential="pin")
def store(text: str, pin: str) -> str:
    """Store a text."""
    said = f"canary-exception while storing {text}"
    raise ValueError(said)  # the line itself may be in a log: it is code, not content


RECORD = {
    "intent": "Keep the note",
    "why": "The operator asked for it",
    "context_source": "operator",
    "risk": "write",
    "reversible": True,
}


@ops.agent(
    tools=[look_up, store],
    model=Scripted(
        [
            calls(
                call("look_up", {"name": "canary-argument"}, text="canary-answer"),
                call("store", {"text": "canary-text", "pin": "canary-pin"}, decision=RECORD),
                call("store", '{"text": "canary-malformed"'),
            ),
            say("canary-last-words"),
        ]
    ),
)
def keeper(run: Run, secret: str) -> str:
    """Keep canary-system secrets."""
    return run.loop(f"canary-prompt: the key is {secret}")
