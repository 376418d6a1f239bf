"""Agents that do what a drawn topology says: calls of tools, then delegations to agents that do the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery

from handrail_agents import Agents, Delegation, Run

app = Celery("tree", broker=os.environ["CELERY_BROKER_URL"])
app.conf.broker_connection_retry_on_startup = True
ops = Agents(app, queue_prefix=os.environ["TEST_QUEUE_PREFIX"], journal=os.environ.get("TEST_JOURNAL"))

AGENTS = [f"agent-{number}" for number in range(6)]


@ops.tool(risk="read", touches="log://{number}")
def read_tool(number: int) -> str:
    """Look."""
    return "seen"


@ops.tool(risk="write", reversible=True, touches="log://{number}")
def write_tool(number: int) -> str:
    """Write."""
    return "written"


@ops.tool(risk="external", reversible=False, touches="https://example.org/{number}")
def external_tool(number: int) -> str:
    """Tell somebody."""
    return "told"


TOOLS: dict[str, Any] = {"read": read_tool, "write": write_tool, "external": external_tool}


def behaviour() -> Callable[..., str]:
    """What every agent does: `risks` of its calls, in order, then `below`: (agent, the same of it), all at once."""

    def act(run: Run, risks: Sequence[str], below: Sequence[tuple[str, dict[str, Any]]]) -> str:
        """Do as told."""
        for number, risk in enumerate(risks):
            record = {
                "intent": "Do what the topology says",
                "why": "The test has drawn it",
                "context_source": "operator",
                "risk": risk,
                "reversible": risk != "external",
            }
            run.call(TOOLS[risk], number=number, **({} if risk == "read" else {"_decision": record}))
        if below:
            run.delegate(*(Delegation(name, plan) for name, plan in below), reason="the topology says so")
        return "done"

    return act


for name in AGENTS:
    ops.agent(name=name, tools=list(TOOLS.values()), delegates=[one for one in AGENTS if one != name])(
        behaviour()
    )
