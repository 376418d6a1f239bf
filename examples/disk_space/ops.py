"""Two agents that free disk space: a scout that looks, a cleaner that may delete, with scripted models.

    handrail run examples/disk_space/task.yaml          # its own Redis, workers and store
    celery -A ops worker                                # or a worker by hand, in this folder

Replace the two scripts by `Anthropic("claude-…")` or `OpenAI("…")` to let a real model decide.
"""

from __future__ import annotations

import os

from celery import Celery

from handrail_agents import Agents, Run
from handrail_agents.models import Scripted, call, say

app = Celery("disk-space", broker=os.environ.get("HANDRAIL_REDIS_URL", "redis://localhost/0"))
ops = Agents(app)

SCOUT = Scripted(
    [
        call("table_sizes", {"host": "db-7", "db": "orders"}),
        say("orders_2019 is the biggest; nothing reads it."),
    ]
)
CLEANER = Scripted(
    [
        call(
            "drop_table",
            {"host": "db-7", "db": "orders", "table": "orders_2019"},
            decision={
                "intent": "Free 40 GB on db-7 by dropping a table that nothing reads.",
                "why": "The scout found it to be the biggest and unused. Truncating would be as final.",
                "context_source": "delegation",
                "risk": "destructive",
                "reversible": False,
            },
        ),
        say("Freed 40 GB on db-7."),
    ]
)


@ops.tool(risk="read", touches="postgres://{host}/{db}")
def table_sizes(host: str, db: str) -> dict[str, int]:
    """Sizes of the tables of one database, in gigabytes."""
    return {"orders_2019": 40, "orders": 12}


@ops.tool(risk="destructive", reversible=False, touches="postgres://{host}/{db}/{table}")
def drop_table(host: str, db: str, table: str) -> str:
    """Drop a table."""
    return "dropped"


@ops.agent(tools=[table_sizes], model=SCOUT)
def scout(run: Run, host: str, db: str) -> str:
    """Find the biggest table of one database."""
    return run.loop(f"Which table of {db} on {host} is the biggest, and is it still used?")


@ops.agent(tools=[drop_table], delegates=[scout], model=CLEANER)
def cleaner(run: Run, host: str) -> str:
    """Free disk space on a database host."""
    found = run.delegate(scout(host=host, db="orders"), reason="size the database first")
    return run.loop(f"Free space on {host}. What the scout found: {found}")
