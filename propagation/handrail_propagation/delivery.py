"""A Celery message coming in: one `process {destination}` span per delivery, around all that Celery does.

Wraps the function that Celery builds for each task, so that the handle of a delivery is a local variable: two
deliveries of one task id in one process never meet, in any pool.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final

from celery import states
from celery.app import amqp
from celery.exceptions import SoftTimeLimitExceeded
from opentelemetry import context as otel_context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, set_span_in_context

from handrail_propagation import carrier, chords, telemetry, tracecontext
from handrail_propagation import conventions as names
from handrail_propagation.destination import destination_of_delivery
from handrail_propagation.ids import chosen_ids
from handrail_propagation.trust import taken_from

_log = logging.getLogger(__name__)
# Set by Celery (5.7) while it publishes what follows a finished task
_dispatching: ContextVar[bool] = vars(amqp).get("_callback_publish_retry") or ContextVar(
    "_never_dispatching", default=False
)
_failing: ContextVar[bool] = ContextVar("handrail-calling-errbacks", default=False)
_DELIVERY = otel_context.create_key("handrail-delivery")
CHOSEN_IDS: Final = "handrail_chosen_ids"
"""Where the worker's main process leaves (pid, ids that it chose, queue) in Celery's request; never in a message."""

DELIVERY_COUNT: Final = "x-delivery-count"
_MAX_CHARS: Final = 512
"""Longer names and ids are cut on spans; Celery's own have 36 characters, and AMQP carries 255."""


def current_delivery() -> Delivery | None:
    """Return the delivery that the current context works on, or `None` outside of a task."""
    found = otel_context.get_value(_DELIVERY)
    return found if isinstance(found, Delivery) else None


def following_failure(call_errbacks: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap Celery's `Backend._call_task_errbacks`: what it publishes follows from the failed task."""

    @wraps(call_errbacks)
    def call_task_errbacks(*args: Any, **options: Any) -> Any:
        token = _failing.set(True)
        try:
            return call_errbacks(*args, **options)
        finally:
            _failing.reset(token)

    return call_task_errbacks


def traced_task(
    task: Any, system: Callable[[], str], run: Callable[..., Any], active: Callable[[], bool]
) -> Any:
    """Wrap what `build_tracer` returns: `run(task_id, args, kwargs, request)` → (value, info, time, repr)."""

    @wraps(run)
    def trace_task(task_id: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        if not active() or not isinstance(request, dict) or request.get("is_eager"):
            # An eager call is no hand-off: nothing travels, and a span would claim that something did.
            return run(task_id, args, kwargs, request)
        try:
            delivery = Delivery(task, system(), task.name, task_id, request)
            if request.get("chord"):
                chords.remember(task.backend, request.get("group"), task_id, delivery.span.get_span_context())
        except SoftTimeLimitExceeded:
            raise  # meant for the task, wherever it strikes
        except Exception:  # noqa: BLE001 - tracing never fails a task
            _log.warning("task %s runs without a span", task_id, exc_info=True)
            return run(task_id, args, kwargs, request)
        try:
            outcome = run(task_id, args, kwargs, request)
        except BaseException as error:
            delivery.end(error=error)
            raise
        delivery.end(outcome)
        return outcome

    return trace_task


class Delivery:
    """One delivery attempt of one message: its span, and what its headers said."""

    __slots__ = (
        "_metrics",
        "_started",
        "_system",
        "attempt",
        "delegator",
        "nesting",
        "replaced",
        "request",
        "span",
        "task",
        "token",
        "traceparents",
    )

    def __init__(
        self,
        task: Any,
        system: str,
        name: str,
        task_id: str,
        request: dict[str, Any],
        start_time: int | None = None,
        app: Any = None,
    ) -> None:
        app = app if task is None else task.app
        self.task = task
        self.request = request
        self._system = system
        nesting = request.get("replaced_task_nesting")
        self.nesting = nesting if isinstance(nesting, int) else 0
        self.replaced = False
        self._metrics = telemetry.messaging_metrics()
        self._started = time.perf_counter() if self._metrics is not None else 0.0
        headers = message_headers(request)
        received = carrier.extract(headers, trust=telemetry.trust_of(app, queue_of(request)))
        sent = sent_with(headers, received)
        self.traceparents = received.traceparents
        self.delegator = delegator_of(sent)
        self.attempt = attempt_of(request, sent)
        self.span = start_process_span(
            name, system, task_id, request, received, sent, self.attempt, start_time
        )
        context = set_span_in_context(self.span, received.context)
        self.token = otel_context.attach(otel_context.set_value(_DELIVERY, self, context))

    def dispatching(self) -> bool:
        """Whether Celery is publishing this task's callbacks or the next step of its chain right now."""
        return bool(_dispatching.get() or _failing.get())

    def end(self, outcome: Any = None, error: BaseException | None = None) -> None:
        """Leave the context and close the span, with what Celery returned or raised."""
        try:
            otel_context.detach(self.token)
            if error is not None and not isinstance(error, Exception) and self._is_watched():
                return  # this child is going down, and the worker's main process records how
            self.close(self._settled(outcome) if error is None else carrier.error_type(error))
        except SoftTimeLimitExceeded:
            raise
        except Exception:  # noqa: BLE001 - the task is done, whatever becomes of its span
            _log.warning("the span of a task was not ended", exc_info=True)

    def close(self, kind: str | None) -> None:
        """Close the span, as failed when there is a kind of error, and count the message."""
        if kind:
            carrier.fail(self.span, kind)
        self.span.end()
        if self._metrics is not None:
            destination = destination_of_delivery(self.request.get("delivery_info"))
            elapsed = time.perf_counter() - self._started
            self._metrics.processed(elapsed, self._system, destination, kind)

    def _is_watched(self) -> bool:
        """Whether another process, the worker's main process, has chosen the ids of this delivery."""
        chosen = self.request.get(CHOSEN_IDS)
        return isinstance(chosen, tuple) and chosen[0] != os.getpid()

    def _settled(self, outcome: Any) -> str | None:
        """Say what became of the task, which is in the second field of what Celery returns."""
        result, info = outcome[0], outcome[1]
        internal = getattr(result, "internal", False) is True  # Celery's own failure around the task
        state = states.SUCCESS if info is None and not internal else getattr(info, "state", states.FAILURE)
        self.span.set_attribute(names.CELERY_STATE, state)
        if internal and state == states.FAILURE:
            return names.ERROR_INTERNAL
        return self._error_type(state, info.retval) if info is not None else None

    def _error_type(self, state: str, value: Any) -> str | None:
        if state == states.RETRY:
            cause = getattr(value, "exc", None)
            return carrier.error_type(cause) if isinstance(cause, BaseException) else names.ERROR_RETRY
        if state == states.REJECTED:
            return names.ERROR_REJECTED
        if state == states.IGNORED:
            return None if self.replaced else names.ERROR_IGNORED
        if isinstance(value, SoftTimeLimitExceeded):
            return names.ERROR_SOFT_TIME_LIMIT
        if isinstance(value, BaseException):
            # As the stock instrumentation: what a task declares in `throws` is an expected end, not an error.
            return None if isinstance(value, self.task.throws) else carrier.error_type(value)
        return names.ERROR_INTERNAL


def message_headers(request: dict[str, Any]) -> dict[str, Any]:
    """Return the headers of a delivered message out of Celery's request; protocol 1 has them one level down."""
    nested = request.get("headers")
    # Every message of protocol 2 says in which language it was written; neither is copied, for it may be huge.
    return nested if isinstance(nested, dict) and "lang" not in request else request


def queue_of(request: dict[str, Any]) -> str | None:
    """Return the queue that a delivery was taken from, as the worker's main process knows it."""
    noted = request.get(CHOSEN_IDS)
    queue = noted[2] if isinstance(noted, tuple) else taken_from()
    return queue if isinstance(queue, str) else None


def sent_with(headers: dict[str, Any], received: carrier.Received) -> dict[str, Any]:
    """Return what the sender of the message noted in it, as far as this consumer trusts the sender."""
    sent = _mapping(headers.get(names.HEADER_MESSAGE))
    if received.trust == "continue":
        return sent
    return {"at": sent.get("at")}


def delegator_of(sent: object) -> SpanContext | None:
    """Return who built what follows a task, as the sender of its message noted it."""
    return _span_context(_mapping(sent).get("from"))


def attempt_of(request: dict[str, Any], sent: dict[str, Any]) -> int:
    """Return which attempt at its message a delivery is, from 1; a broker that only says "redelivered" adds one."""
    retries = _count(request.get("retries"))
    attempt = _count(sent.get("attempt")) or (retries or 0) + 1
    again = _count(request.get(DELIVERY_COUNT))  # RabbitMQ's quorum queues count; others say "again" at most
    if again is None:
        again = 1 if _mapping(request.get("delivery_info")).get("redelivered") else 0
    return attempt + again


def start_process_span(
    name: str,
    system: str,
    task_id: str,
    request: dict[str, Any],
    received: carrier.Received,
    sent: dict[str, Any],
    attempt: int,
    start_time: int | None = None,
) -> Span:
    """Start the span of one delivery, under the ids that the worker's main process chose for it, if it did."""
    links = received.links()
    if (before := _span_context(sent.get("retry_of"))) is not None:
        links.append(Link(before, {names.LINK_TYPE: names.LINK_RETRY_OF}))
    destination = _bounded(destination_of_delivery(request.get("delivery_info")))
    chosen = request.get(CHOSEN_IDS)
    with chosen_ids(chosen[1] if isinstance(chosen, tuple) else None):
        return telemetry.tracer().start_span(
            f"{names.OPERATION_PROCESS} {destination}",
            context=received.context,
            kind=SpanKind.CONSUMER,
            attributes=delivery_attributes(name, system, destination, task_id, request, sent, attempt),
            links=links,
            start_time=start_time,
        )


def delivery_attributes(
    name: str,
    system: str,
    destination: str,
    task_id: str,
    request: dict[str, Any],
    sent: dict[str, Any],
    attempt: int,
) -> dict[str, Any]:
    """Attributes of a `process` span that are known when it starts."""
    retries = _count(request.get("retries"))
    attributes: dict[str, Any] = {
        names.MESSAGING_SYSTEM: system,
        names.MESSAGING_OPERATION_NAME: names.OPERATION_PROCESS,
        names.MESSAGING_OPERATION_TYPE: names.OPERATION_PROCESS,
        names.MESSAGING_DESTINATION_NAME: destination,
        names.MESSAGING_MESSAGE_ID: _bounded(task_id),
        names.CELERY_ACTION: names.CELERY_ACTION_RUN,
        names.CELERY_TASK_NAME: _bounded(name),
        names.MESSAGE_ATTEMPT: attempt,
        names.MESSAGE_REDELIVERED: bool(_mapping(request.get("delivery_info")).get("redelivered")),
    }
    for key, attribute in _TEXTS:
        value = request.get(key)
        if value and isinstance(value, str):
            attributes[attribute] = _bounded(value)
    if hostname := attributes.get(names.MESSAGING_CLIENT_ID):
        attributes[names.CELERY_HOSTNAME] = hostname
    if retries:
        attributes[names.CELERY_RETRIES] = retries
    _add_waits(attributes, sent.get("at"), attributes.get(names.CELERY_ETA))
    return attributes


_TEXTS = (
    ("hostname", names.MESSAGING_CLIENT_ID),
    ("root_id", names.MESSAGE_ROOT_ID),
    ("parent_id", names.MESSAGE_PARENT_ID),
    ("eta", names.CELERY_ETA),
    ("expires", names.CELERY_EXPIRES),
)


def _add_waits(attributes: dict[str, Any], sent_at: object, eta: str | None) -> None:
    """Tell the wait in the queue from the delay that the sender asked for."""
    if not isinstance(sent_at, float) or not 0 < sent_at < 1 << 33:
        return
    attributes[names.MESSAGE_ENQUEUED_AT] = datetime.fromtimestamp(sent_at, UTC).isoformat()
    due = sent_at
    if eta:
        try:
            due = max(sent_at, datetime.fromisoformat(eta).timestamp())
        except ValueError:
            due = sent_at
        attributes[names.MESSAGE_INTENDED_DELAY] = round(due - sent_at, 6)
    attributes[names.MESSAGE_QUEUE_WAIT] = round(max(0.0, time.time() - due), 6)


def _bounded(value: object) -> str:
    """Return a text of the message as a span can hold it: not endless, and UTF-8 (JSON lets lone surrogates pass)."""
    if not isinstance(value, str):
        return type(value).__name__
    text = value[:_MAX_CHARS]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else None


def _span_context(value: object) -> SpanContext | None:
    return tracecontext.parse((value,), ()) if isinstance(value, str) else None
