"""Two agents of a project that tests itself with the plugin: a scout that looks, a cleaner that may delete."""

from __future__ import annotations

import os

from celery import Celery

from handrail_agents import Agents, Run
from handrail_agents.models import Scripted, call, say

app = Celery("ops", broker="redis://localhost:1/0")
ops = Agents(app, gate="on")
DECISION = {
    "intent": "Free space by dropping a table that nothing reads.",
    "why": "The scout found it to be the biggest and unused.",
    "context_source": "delegation",
    "risk": "destructive",
    "reversible": False,
}
DROP = call("drop_table", {"host": "db-7", "table": "old"}, decision=DECISION)


@ops.tool(risk="read", touches="postgres://{host}/{db}")
def table_sizes(host: str, db: str) -> dict[str, int]:
    """Sizes of the tables of one database."""
    return {"old": 40, "orders": 12}


@ops.tool(risk="destructive", touches="postgres://{host}/{table}")
def drop_table(host: str, table: str) -> str:
    """Drop a table."""
    return "dropped"


@ops.agent(
    tools=[table_sizes], model=Scripted([call("table_sizes", {"host": "db-7", "db": "a"}), say("old")])
)
def scout(run: Run, host: str, db: str) -> str:
    """Find the biggest table of one database."""
    return run.loop(f"Which table of {db} on {host} is the biggest?")


@ops.agent(tools=[drop_table], delegates=[scout], model=Scripted([DROP, say("done")]))
def cleaner(run: Run, host: str) -> str:
    """Free disk space on a database host."""
    scouts = [
        scout(host=host, db=name) for name in os.environ.get("TEST_DATABASES", "orders,logs").split(",")
    ]
    found = run.delegate(*scouts, reason="size both databases first")
    return run.loop(f"Free space on {host}. What the scouts found: {found}")
