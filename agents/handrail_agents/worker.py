"""What a worker of an app with agents is given: queues, routes, settings, and a word about unknown agents."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from handrail_agents.errors import HandrailError
from handrail_agents.handoff import BadHeader, Header
from handrail_agents.outcomes import Failed
from handrail_agents.sending import send_wake
from handrail_propagation import carrier
from handrail_propagation import conventions as names

if TYPE_CHECKING:
    from handrail_agents.registry import Agents

_log = logging.getLogger(__name__)


def equip(ops: Agents) -> None:
    """Set the app's routes and settings, and hook into its workers."""
    from celery.signals import celeryd_after_setup, task_unknown

    conf = ops.app.conf
    routes = conf.task_routes or []
    others = list(routes) if isinstance(routes, (list, tuple)) else [routes]

    def route(name: str, *_: Any, **__: Any) -> dict[str, str] | None:
        return {"queue": ops.queue_of(name)} if ops.known(name) else None

    conf.task_routes = [route, *others]
    # With more, one busy child would sit on messages that another one could be working on.
    conf.worker_prefetch_multiplier = 1

    def add_queues(instance: Any = None, **_: Any) -> None:
        queues = getattr(getattr(instance, "app", None), "amqp", None)
        if queues is None or instance.app is not ops.app:
            return
        ops.gate.warn()
        if queues.queues._consume_from is None:
            # No -Q: the worker takes what every agent of the app gets.
            for name in ops.agents:
                queues.queues.select_add(ops.queue_of(name))

    def report_unknown(sender: Any = None, message: Any = None, name: str = "", **_: Any) -> None:
        if getattr(sender, "app", None) is ops.app:
            unknown_agent(ops, name, message)

    celeryd_after_setup.connect(add_queues, weak=False)
    task_unknown.connect(report_unknown, weak=False)


def unknown_agent(ops: Agents, name: str, message: Any) -> None:
    """End the invocation of a message whose agent no code here declares, so that nobody waits for ever."""
    from handrail_propagation.endings import refused_as

    headers = message.headers if isinstance(message.headers, dict) else {}
    value = headers.get(names.HEADER_HANDRAIL)
    if value is None:
        return
    known = ", ".join(ops.agents) or "none"
    failed = Failed("UnknownAgent", f"the worker of that queue has no agent {name!r}; it has {known}")
    try:
        header = Header.parse(value)
        wake = ops.journal.settle(header.run_id, header.invocation, None, failed)
        if wake is None:
            return
        # Neither a span nor a task is current in the worker's main process: what wakes the parent follows from
        # the delivery that was refused, as if its task had sent it.
        context = carrier.extract(headers).context
        lineage = {key: headers[key] for key in ("root_id", "parent_id") if isinstance(headers.get(key), str)}
        if (refused := refused_as(message)) is not None:
            context = set_span_in_context(NonRecordingSpan(refused), context)
            if isinstance(headers.get("id"), str):
                lineage["parent_id"] = headers["id"]
        token = otel_context.attach(context)
        try:
            send_wake(ops.app, header.run_id, wake, queue=ops.queue_of(wake.agent), lineage=lineage)
        finally:
            otel_context.detach(token)
    except BadHeader as error:
        _log.error("%s", error)
    except HandrailError as error:
        _log.error("run of unknown agent could not be ended: %s", error)
