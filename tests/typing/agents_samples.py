"""How users write agents, for the type checkers: mypy and pyright accept every line and infer these types."""

from __future__ import annotations

from typing import assert_type

from celery import Celery

from handrail_agents import (
    Agent,
    Agents,
    Anthropic,
    DecisionRecord,
    Delegation,
    Done,
    Failed,
    InDoubt,
    Job,
    OpenAI,
    Outcome,
    Refused,
    Run,
    Scripted,
    Waiting,
)
from handrail_agents.models import Model, Reply, call, open_model, say

app = Celery("ops", broker="redis://localhost/0")
ops = Agents(app, model=Anthropic("claude-sonnet-4-5"))
quiet = Agents(
    app, model=OpenAI("gpt-5", base_url="http://localhost:8000/v1"), gate="on", queue_prefix="test-"
)


@ops.tool(risk="read", touches="postgres://{host}/{db}")
def table_sizes(host: str, db: str) -> dict[str, int]:
    """Sizes of the tables of one database."""
    return {host: len(db)}


@ops.tool
def drop_everything(host: str) -> str:
    """A tool that declares nothing is destructive."""
    return host


@ops.agent(tools=[table_sizes], model=Scripted([call("table_sizes", {"host": "a", "db": "b"}), say("done")]))
def scout(run: Run, host: str, db: str = "orders") -> str:
    """Find the biggest table."""
    return run.loop(f"Which table of {db} on {host} is the biggest?")


@ops.agent(tools=[table_sizes, drop_everything], delegates=[scout, "elsewhere"])
def cleaner(run: Run, host: str) -> list[str]:
    """Free disk space."""
    record = DecisionRecord(
        intent="free space",
        why="the disk is full",
        context_source="operator",
        risk="destructive",
        reversible=False,
    )
    run.call(drop_everything, host=host, _decision=record)
    return [
        str(one) for one in run.delegate(scout(host=host), scout(host=host, db="logs"), reason="size both")
    ]


@ops.agent
def plain(run: Run) -> None:
    """An agent with neither tools nor arguments."""


assert_type(table_sizes.function(host="a", db="b"), dict[str, int])
assert_type(plain, Agent[[], None])
assert_type(scout(host="db-7"), Delegation)


def what_became_of(job: Job) -> str:
    """Every outcome is a value that the caller can tell apart."""
    outcome = job.result(timeout=600)
    assert_type(outcome, Outcome)
    match outcome:
        case Done(value):
            return str(value)
        case Waiting(approval):
            return f"{approval.id}: {approval.call.tool} on {', '.join(approval.call.touches)}"
        case InDoubt(call):
            return call.tool
        case Refused(call, reason):
            return f"{call.tool}: {reason}"
        case Failed(error_type, message):
            return f"{error_type}: {message}"


def send() -> Job:
    """Enqueue by name."""
    job = ops.send("cleaner", host="db-7")
    assert_type(job.trace_id, str)
    return job


def model_of(name: str) -> Model:
    """Any object with `provider`, `model` and `generate` is a model."""
    model = open_model(name)
    assert_type(model.generate([], []), Reply)
    return model
