"""The Celery task of an agent: acknowledged after the work, given back when a worker dies in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Task

from handrail_agents import delivery

if TYPE_CHECKING:
    _Task = Task[Any, Any]
else:
    _Task = Task  # generic in the stubs only


class AgentTask(_Task):
    """One per agent. Its outcome is in the journal, so Celery's result backend is not used."""

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    ignore_result = True
    store_errors_even_if_ignored = False
    max_retries = 0
    handrail_ops: Any = None
    handrail_agent: Any = None

    def deliver(self, args: Any, kwargs: dict[str, Any]) -> None:
        """Advance the invocation that the message in hand is about."""
        delivery.deliver(self.handrail_ops, self.handrail_agent, self.request, args, kwargs)
