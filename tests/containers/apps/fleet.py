"""Three agents on queues of their own: a hand-off, inside it a second one, then a fan-out."""

from __future__ import annotations

import os

from celery import Celery

from handrail_agents import Agents, Run, Scripted
from handrail_agents.models.scripted import call, say

app = Celery("fleet", broker=os.environ["HANDRAIL_REDIS_URL"])
ops = Agents(app, queue_prefix=os.environ["TEST_QUEUE_PREFIX"])


@ops.tool(risk="read", touches="host://{host}")
def free_space(host: str) -> int:
    """Free space of a host, in GB."""
    return len(host)


@ops.tool(risk="write", reversible=True, touches="log://{topic}")
def write_note(topic: str, text: str) -> str:
    """Add a note to the log of a topic."""
    return f"noted {len(text)} characters on {topic}"


RECORD = {
    "intent": "Keep what was measured",
    "why": "The operator asked for a written record of every host",
    "context_source": "delegation",
    "risk": "write",
    "reversible": True,
}


@ops.agent(
    tools=[write_note],
    model=Scripted(
        [call("write_note", {"topic": "capacity", "text": "7 GB left"}, decision=RECORD), say("written")]
    ),
)
def scribe(run: Run, topic: str) -> str:
    """Keep the log."""
    return run.loop(f"Write down what is known about {topic}.")


@ops.agent(tools=[free_space], delegates=[scribe])
def scout(run: Run, host: str) -> list[object]:
    """Measure one host."""
    space = run.call(free_space, host=host)
    return [space, run.delegate(scribe(topic=host), reason="what was measured must be kept")]


@ops.agent(delegates=[scout, scribe])
def planner(run: Run, host: str) -> list[object]:
    """Measure a host, then write two summaries at once."""
    found = run.delegate(scout(host=host), reason="measure before anything is planned")
    written = run.delegate(scribe(topic="costs"), scribe(topic="risks"), reason="both summaries at once")
    return [found, written]
