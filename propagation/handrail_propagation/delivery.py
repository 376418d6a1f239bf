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
from functools import lru_cache, wraps
from math import modf
from typing import Any, Final, NamedTuple

from celery import states
from celery.app import amqp
from celery.exceptions import SoftTimeLimitExceeded
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    set_span_in_context,
)

from handrail_propagation import baggage, carrier, chords, telemetry, tracecontext
from handrail_propagation import conventions as names
from handrail_propagation.destination import RABBITMQ, destination_of_delivery
from handrail_propagation.ids import are_ids
from handrail_propagation.lineage import run_id_of
from handrail_propagation.messagespan import MessageSpan, SpanTemplate
from handrail_propagation.sender import (
    attempt_of,
    count,
    delegator_of,
    message_headers,
    seconds_of,
    sent_with,
    span_context_of,
)
from handrail_propagation.trust import Trust, taken_from

_log = logging.getLogger(__name__)
# Set by Celery (5.7) while it publishes what follows a finished task
_dispatching: ContextVar[bool] = vars(amqp).get("_callback_publish_retry") or ContextVar(
    "_never_dispatching", default=False
)
_failing: ContextVar[bool] = ContextVar("handrail-calling-errbacks", default=False)
_DELIVERY = otel_context.create_key("handrail-delivery")
_MAX_CHARS: Final = 512
"""Longer names and ids are cut on spans; Celery's own have 36 characters, and AMQP carries 255."""


def delivery_in(context: Context) -> Delivery | None:
    """Return the delivery that a context works on, or `None` outside of a task."""
    found = context.get(_DELIVERY)
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
        if telemetry.is_silent() and tracecontext.are_bare(request) and not otel_context.get_current():
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
        "_sent",
        "_started",
        "_system",
        "attempt",
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
        self.replaced = False
        self._metrics = telemetry.get().messaging_metrics
        self._started = time.perf_counter() if self._metrics is not None else 0.0
        headers = message_headers(request)
        trust = telemetry.trust_of(app, queue_of(request))
        creation, self.traceparents, entries = carrier.claims(headers, trust)
        self._sent = sent = sent_with(headers, trust)
        self.attempt = attempt_of(request, sent)
        around = baggage.parse(entries, telemetry.config().baggage_keys, Context()) if entries else None
        self.span = start_process_span(
            name, system, task_id, request, creation, trust, around, sent, self.attempt, start_time
        )
        if creation is None and self.traceparents:
            carrier.note_unused(self.span, trust)
        context = {carrier.SPAN_KEY: self.span, _DELIVERY: self}
        self.token = otel_context.attach(Context({**around, **context} if around else context))

    @property
    def delegator(self) -> SpanContext | None:
        """Who built the chain that this task is a step of, if it is one."""
        return delegator_of(self._sent)

    @property
    def nesting(self) -> int:
        """How many tasks have been replaced before it came to this one."""
        nesting = self.request.get("replaced_task_nesting")
        return nesting if isinstance(nesting, int) else 0

    def dispatching(self) -> bool:
        """Whether Celery is publishing this task's callbacks or the next step of its chain right now."""
        return bool(_dispatching.get() or _failing.get())

    def end(self, outcome: Any = None, error: BaseException | None = None) -> None:
        """Leave the context and close the span, with what Celery returned or raised."""
        try:
            otel_context.detach(self.token)
            if error is not None:
                if isinstance(error, Exception) or not self._is_watched():
                    self.close(carrier.error_type(error))
                # else this child is going down, and the worker's main process records how
            elif (
                outcome[1] is None  # as nearly all end: nothing to say but this
                and type(self.span) is MessageSpan
                and self._metrics is None
                and not _is_internal(outcome[0])
            ):
                self.span.end_with(names.CELERY_STATE, states.SUCCESS)
            else:
                self.close(self._settled(outcome))
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
            destination = _destination(self._system, self.request)
            elapsed = time.perf_counter() - self._started
            self._metrics.processed(elapsed, self._system, destination, kind)

    def _is_watched(self) -> bool:
        """Whether another process, the worker's main process, has chosen the ids of this delivery."""
        chosen = self.request.get(names.REQUEST_CHOSEN_IDS)
        return isinstance(chosen, tuple) and chosen[0] != os.getpid()

    def _settled(self, outcome: Any) -> str | None:
        """Say what became of the task, which is in the second field of what Celery returns."""
        result, info = outcome[0], outcome[1]
        internal = _is_internal(result)
        state = states.SUCCESS if info is None and not internal else getattr(info, "state", states.FAILURE)
        if self.span.is_recording():
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


def _is_internal(result: object) -> bool:
    """Whether what Celery returns for a task is a failure of its own around the task."""
    return result is not None and getattr(result, "internal", False) is True


def queue_of(request: dict[str, Any]) -> str | None:
    """Return the queue that a delivery was taken from, as the worker's main process knows it."""
    noted = request.get(names.REQUEST_CHOSEN_IDS)
    queue = noted[2] if isinstance(noted, tuple) else taken_from()
    return queue if isinstance(queue, str) else None


def _destination(system: str, request: dict[str, Any]) -> str:
    """Return `messaging.destination.name` of a delivery; only RabbitMQ's names the queue beside an exchange."""
    queue = queue_of(request) if system == RABBITMQ else None
    return _bounded(destination_of_delivery(system, request.get("delivery_info"), queue))


def start_process_span(
    name: str,
    system: str,
    task_id: str,
    request: dict[str, Any],
    creation: SpanContext | None,
    trust: Trust,
    around: Context | None,
    sent: dict[str, Any],
    attempt: int,
    start_time: int | None = None,
) -> Span:
    """Start the span of one delivery, under the ids that the worker's main process chose for it, if it did.

    `creation` is the context that the message claims to come from, `around` what else is in the context, baggage.
    """
    messages = telemetry.get().messages
    parent = creation if creation is not None and trust == "continue" else INVALID_SPAN_CONTEXT
    if messages.disabled:
        return NonRecordingSpan(parent)
    links = carrier.links_of(creation, trust)
    if "retry_of" in sent and (before := span_context_of(sent["retry_of"])) is not None:
        links = *links, (before, carrier.RETRY_OF)
    info = request.get("delivery_info")
    root_id, parent_id, eta, expires = map(request.get, _READ)
    if start_time is None:
        start_time = time.time_ns()
    task_id = _bounded(task_id)
    details = (
        task_id,
        attempt,
        sent.get("at"),
        start_time,
        None if around is None else run_id_of(around),
        bool(info.get("redelivered")) if isinstance(info, dict) else False,
        count(request.get("retries")),
        task_id if root_id == task_id else _bounded_text(root_id),
        _bounded_text(parent_id),
        _bounded_text(eta),
        _bounded_text(expires),
    )
    if around is not None and parent.is_valid:
        around = set_span_in_context(NonRecordingSpan(parent), around)
    chosen = request.get(names.REQUEST_CHOSEN_IDS)
    return messages.start_span(
        _template(system, _destination(system, request), _bounded(name), _text(request.get("hostname"))),
        around,
        parent,
        details,
        links,
        ids=chosen[1] if isinstance(chosen, tuple) and are_ids(chosen[1]) else b"",
        start_time=start_time,
    )


class _Details(NamedTuple):
    """What one `process` span says besides what its template says; not the request, which holds arguments."""

    task_id: str
    attempt: int
    sent_at: object
    start_time: int
    run_id: str | None
    redelivered: bool
    retries: int | None
    root_id: str
    parent_id: str
    eta: str
    expires: str


_READ = _Details._fields[-4:]


@lru_cache(maxsize=1024)
def _template(system: str, destination: str, name: str, hostname: str) -> SpanTemplate:
    """Return what the `process` spans of one task in one worker have in common."""
    shared: dict[str, Any] = {
        names.MESSAGING_SYSTEM: system,
        names.MESSAGING_OPERATION_NAME: names.OPERATION_PROCESS,
        names.MESSAGING_OPERATION_TYPE: names.OPERATION_PROCESS,
        names.MESSAGING_DESTINATION_NAME: destination,
        names.CELERY_ACTION: names.CELERY_ACTION_RUN,
        names.CELERY_TASK_NAME: name,
    }
    if hostname:
        shared[names.MESSAGING_CLIENT_ID] = shared[names.CELERY_HOSTNAME] = hostname
    return SpanTemplate(f"{names.OPERATION_PROCESS} {destination}", SpanKind.CONSUMER, shared, _attributes)


def _attributes(values: tuple[Any, ...]) -> dict[str, Any]:
    """Return the attributes of one `process` span that are known when it starts; `values` are `_Details`."""
    # In the order of `_Details`: by name each of them takes a call
    task_id, attempt, sent_at, start_time, run_id, redelivered, retries, root_id, parent_id, eta, expires = (
        values
    )
    attributes: dict[str, Any] = {
        names.MESSAGING_MESSAGE_ID: task_id,
        names.MESSAGE_ATTEMPT: attempt,
        names.MESSAGE_REDELIVERED: redelivered,
    }
    if run_id:
        attributes[names.RUN_ID] = run_id
    if root_id:
        attributes[names.MESSAGE_ROOT_ID] = root_id
    if parent_id:
        attributes[names.MESSAGE_PARENT_ID] = parent_id
    if eta:
        attributes[names.CELERY_ETA] = eta
    if expires:
        attributes[names.CELERY_EXPIRES] = expires
    if retries:
        attributes[names.CELERY_RETRIES] = retries
    _add_waits(attributes, sent_at, eta, start_time / 1e9)
    return attributes


def _utc_text(at: float) -> str:
    """Return seconds since 1970 as `datetime` writes them in UTC; faster, as many messages are of one second."""
    fraction, whole = modf(at)
    micros = round(fraction * 1e6)
    if not 0 < micros < 1_000_000:
        return datetime.fromtimestamp(at, UTC).isoformat()
    return f"{_second(int(whole))}.{micros:06d}+00:00"


@lru_cache(maxsize=64)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).isoformat().removesuffix("+00:00")


def _add_waits(attributes: dict[str, Any], at: object, eta: str | None, now: float) -> None:
    """Tell the wait in the queue from the delay that the sender asked for; times in seconds since 1970."""
    if (sent_at := seconds_of(at)) is None:
        return
    attributes[names.MESSAGE_ENQUEUED_AT] = _utc_text(sent_at)
    due = sent_at
    if eta:
        try:
            due = max(sent_at, datetime.fromisoformat(eta).timestamp())
        except ValueError:
            due = sent_at
        attributes[names.MESSAGE_INTENDED_DELAY] = round(due - sent_at, 6)
    attributes[names.MESSAGE_QUEUE_WAIT] = round(max(0.0, now - due), 6)


def _bounded(value: object) -> str:
    """Return a text of the message as a span can hold it: not endless, and UTF-8 (JSON lets lone surrogates pass)."""
    if not isinstance(value, str):
        return type(value).__name__
    text = value[:_MAX_CHARS]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _bounded_text(value: object) -> str:
    return _bounded(value) if isinstance(value, str) else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
