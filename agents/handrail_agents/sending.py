"""Messages out: start an invocation (under its `invoke_agent` span), wake one.

The span ends when the broker has accepted the message; it is never held open for the callee.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from handrail_agents.errors import BrokerError
from handrail_agents.handoff import Header
from handrail_agents.journal import Invocation, Wake
from handrail_agents.redis_client import without_password
from handrail_propagation import conventions as names
from handrail_propagation import run_context, tracer
from handrail_propagation.redaction import redact

if TYPE_CHECKING:
    from celery import Celery

PROVIDER = "handrail"
_RETRY_POLICY = {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5}


def send_start(
    app: Celery,
    invocation: Invocation,
    arguments: dict[str, Any],
    *,
    queue: str,
    reason: str = "",
    links: Sequence[Link] | None = None,
) -> SpanContext:
    """Send the message that starts an invocation; return the context of its `invoke_agent` span.

    Raises `BrokerError` when the broker does not take it.
    """
    attributes: dict[str, Any] = {
        names.GEN_AI_OPERATION_NAME: names.OPERATION_INVOKE_AGENT,
        names.GEN_AI_PROVIDER_NAME: PROVIDER,
        names.GEN_AI_AGENT_NAME: invocation.agent,
        names.DELEGATION_DEPTH: len(invocation.path),
        names.DELEGATION_PATH: list(invocation.path),
        names.RUN_ID: invocation.run_id,
    }
    if reason:
        attributes[names.DELEGATION_REASON] = redact(reason, names.REASON_MAX_CHARS)
    with (
        run_context(invocation.run_id),
        tracer().start_as_current_span(
            f"{names.OPERATION_INVOKE_AGENT} {invocation.agent}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span,
    ):
        try:
            _publish(
                app, invocation.agent, queue, arguments, Header("start", invocation.run_id, invocation.id)
            )
        except BrokerError as error:
            kind = type(error.__cause__ or error).__name__
            span.set_attribute(names.ERROR_TYPE, kind)
            span.set_status(Status(StatusCode.ERROR, kind))
            raise
        return span.get_span_context()


def send_wake(
    app: Celery, run_id: str, wake: Wake, *, queue: str, lineage: Mapping[str, str] | None = None
) -> None:
    """Send the message that lets a parked invocation go on; raises `BrokerError`.

    `lineage` is Celery's `root_id` and `parent_id`, for a message that is not sent from within a task.
    """
    with run_context(run_id):
        _publish(app, wake.agent, queue, {}, Header("wake", run_id, wake.invocation), lineage)


def _publish(
    app: Celery,
    name: str,
    queue: str,
    arguments: dict[str, Any],
    header: Header,
    lineage: Mapping[str, str] | None = None,
) -> None:
    import kombu.exceptions

    try:
        app.send_task(
            name,
            kwargs=arguments,
            queue=queue,
            headers={names.HEADER_HANDRAIL: header.to_dict()},
            argsrepr="",
            kwargsrepr="",
            ignore_result=True,
            retry=True,
            retry_policy=_RETRY_POLICY,
            root_id=(lineage or {}).get("root_id"),
            parent_id=(lineage or {}).get("parent_id"),
        )
    except (kombu.exceptions.OperationalError, OSError) as error:
        url = app.conf.broker_write_url or app.conf.broker_url or ""
        url = url if isinstance(url, str) else str(url[0])
        raise BrokerError(
            f"the broker at {without_password(url)} did not take the message for {name!r} "
            f"({type(error).__name__}); start it, or correct the broker URL"
        ) from error
