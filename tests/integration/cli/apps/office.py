"""Two agents for the tests of the command line; queue names are this process group's own."""

from __future__ import annotations

import os

from celery import Celery

from handrail_agents import Agents, Run, Scripted
from handrail_agents.models import call, say

app = Celery("office", broker=os.environ.get("OFFICE_BROKER", "redis://127.0.0.1:1/0"))
ops = Agents(app, queue_prefix=os.environ.get("OFFICE_PREFIX", ""))


@ops.tool(risk="read")
def look_up(name: str) -> str:
    """A telephone number."""
    return "555-0100"


@ops.tool(risk="read")
def broken(name: str) -> str:
    """Always fails."""
    raise OSError("private text that must not get out")


@ops.agent(tools=[look_up], model=Scripted([call("look_up", {"name": "Ada"}), say("555-0100")]))
def clerk(run: Run, name: str) -> str:
    """Look up a number."""
    return run.loop(f"What is the number of {name}?")


@ops.agent(delegates=[clerk])
def manager(run: Run, name: str) -> str:
    """Have a number looked up."""
    return f"It is {run.delegate(clerk(name=name), reason='the clerk has the list')}."


@ops.agent(tools=[broken])
def unlucky(run: Run, name: str) -> str:
    """Call a tool that raises."""
    return str(run.call(broken, name=name))
