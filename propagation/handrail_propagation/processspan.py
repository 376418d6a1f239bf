"""The `process {destination}` span of one delivery of a Celery message: where it hangs, and what it says."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from math import modf
from typing import Any, Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    set_span_in_context,
)

from handrail_propagation import carrier, telemetry
from handrail_propagation import conventions as names
from handrail_propagation.destination import RABBITMQ, destination_of_delivery
from handrail_propagation.ids import are_ids
from handrail_propagation.lineage import run_id_of
from handrail_propagation.messagespan import SpanTemplate
from handrail_propagation.otlp.details import of_process
from handrail_propagation.sender import count, seconds_of, span_context_of, utc_second
from handrail_propagation.trust import Trust, taken_from

_MAX_CHARS: Final = 512
"""Longer names and ids are cut on spans; Celery's own have 36 characters, and AMQP carries 255."""


def queue_of(request: dict[str, Any]) -> str | None:
    """Return the queue that a delivery was taken from, as the worker's main process knows it."""
    noted = request.get(names.REQUEST_CHOSEN_IDS)
    queue = noted[2] if isinstance(noted, tuple) else taken_from()
    return queue if isinstance(queue, str) else None


def claim_end(request: dict[str, Any]) -> bool:
    """Return whether the end of a delivery is the caller's to record; after that it is nobody's.

    Where tasks run in the worker's own process (gevent, solo, threads) both the task and Celery around it have a word:
    of a greenlet that is killed, say. They share the request, whose chosen ids are used up by the first. A pool child
    has a copy, and who records its end is decided by `Delivery.end`.
    """
    chosen = request.get(names.REQUEST_CHOSEN_IDS)
    if type(chosen) is tuple:
        if not chosen[1]:
            return False
        request[names.REQUEST_CHOSEN_IDS] = (chosen[0], b"", chosen[2])
    return True


def is_ended(request: dict[str, Any]) -> bool:
    """Whether somebody in this process has claimed the end of a delivery."""
    chosen = request.get(names.REQUEST_CHOSEN_IDS)
    return type(chosen) is tuple and not chosen[1]


def destination_of(system: str, request: dict[str, Any]) -> str:
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
        _template(system, destination_of(system, request), _bounded(name), _text(request.get("hostname"))),
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
    return SpanTemplate(
        f"{names.OPERATION_PROCESS} {destination}", SpanKind.CONSUMER, shared, _attributes, of_process
    )


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
    _add_waits(attributes, sent_at, eta, start_time)
    return attributes


def _utc_text(at: float) -> str:
    """Return seconds since 1970 as `datetime` writes them in UTC; faster, as many messages are of one second."""
    fraction, whole = modf(at)
    micros = round(fraction * 1e6)
    if not 0 < micros < 1_000_000:
        return datetime.fromtimestamp(at, UTC).isoformat()
    return f"{utc_second(int(whole))}.{micros:06d}+00:00"


def _add_waits(attributes: dict[str, Any], at: object, eta: str | None, start_time: int) -> None:
    """Tell the wait in the queue from the delay that the sender asked for; `start_time` in nanoseconds since 1970."""
    if (sent_at := seconds_of(at)) is None:
        return
    attributes[names.MESSAGE_ENQUEUED_AT] = _utc_text(sent_at)
    due = sent_at
    if type(at) is int and not eta:
        attributes[names.MESSAGE_QUEUE_WAIT] = max(0, start_time // 1000 - at) / 1e6
        return
    if eta:
        try:
            due = max(sent_at, datetime.fromisoformat(eta).timestamp())
        except ValueError:
            due = sent_at
        attributes[names.MESSAGE_INTENDED_DELAY] = round(due - sent_at, 6)
    attributes[names.MESSAGE_QUEUE_WAIT] = round(max(0.0, start_time / 1e9 - due), 6)


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
