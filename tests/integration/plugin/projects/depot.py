"""A Celery project that routes in every way that Celery knows, with priorities, and replaces tasks."""

from __future__ import annotations

from typing import Any

from celery import Celery, Task

from handrail_propagation import instrument

app = Celery("depot", broker="redis://localhost:1/0")
app.conf.result_backend = "redis://localhost:1/0"


def by_name(
    name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any
) -> dict[str, Any] | None:
    """Route audits, with a priority."""
    return {"queue": "audits", "priority": 6} if name == "depot.audit" else None


def by_argument(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> str | None:
    """Route by what is in the message, which nobody has before it is sent."""
    return f"size-{args[0]}" if name == "depot.weigh" else None


app.conf.task_routes = ([("depot.ship*", {"queue": "ships"})], by_name, by_argument)
instrument(app)


@app.task(name="depot.ship_all")
def ship_all(amount: int) -> int:
    """Ship, and have it audited."""
    audit.delay(amount)
    return amount


@app.task(name="depot.audit")
def audit(amount: int) -> int:
    """Audit."""
    return amount


@app.task(name="depot.weigh")
def weigh(amount: int) -> int:
    """Weigh."""
    return amount


@app.task(name="depot.swap", bind=True)
def swap(self: Task[Any, Any], amount: int) -> Any:
    """Let another task take this one's place, with its id."""
    return self.replace(audit.s(amount))
