"""Deliveries that end without the task's process saying so: revoked, expired, killed, timed out, unknown, refused.

Runs in the worker's main process. Each such delivery gets its one `process` span here, in the trace of its message.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from billiard import einfo
from billiard.exceptions import WorkerLostError
from celery import signals
from celery.worker.request import Request
from opentelemetry import context as otel_context
from opentelemetry.trace import SpanContext

from handrail_propagation import conventions as names
from handrail_propagation import telemetry, tracecontext
from handrail_propagation.delivery import Delivery
from handrail_propagation.destination import broker_system
from handrail_propagation.ids import choose
from handrail_propagation.processspan import claim_end, is_ended
from handrail_propagation.trust import taken_from

_log = logging.getLogger(__name__)
_REFUSED = "_handrail_refused_as"
_request: Any = Request
_ExceptionWithTraceback: type[Any] = vars(einfo)["ExceptionWithTraceback"]
_METHODS = ("on_failure", "on_timeout", "_announce_revoked", "_announce_cancelled")
_READ = (names.HEADER_MESSAGE, "retries", "root_id", "parent_id", "eta", "expires")
_DEATH = re.compile(r"(signal \d+(?: \(\w+\))?|exitcode \d+)")


class Endings:
    """The hooks, put in and taken out together."""

    def __init__(self, active: Callable[[], bool]) -> None:
        self._active = active
        self._originals = {name: getattr(Request, name) for name in _METHODS}
        self._make = _request.__init__
        self._on_decode_error: Callable[..., Any] | None = None

    def connect(self) -> None:
        """Start recording."""
        before: dict[str, Callable[..., Delivery | None]] = {
            "on_failure": _lost,
            "on_timeout": _timed_out,
            "_announce_revoked": _revoked,
            "_announce_cancelled": _cancelled,
        }
        for name, record in before.items():
            setattr(_request, name, self._wrapped(self._originals[name], record))
        _request.__init__ = self._choosing(self._make)
        signals.worker_init.connect(self._watch_decoding, weak=False)
        signals.task_unknown.connect(_unknown, weak=False)
        signals.task_rejected.connect(_rejected, weak=False)

    def disconnect(self) -> None:
        """Put Celery's own methods back."""
        for name, original in self._originals.items():
            setattr(_request, name, original)
        _request.__init__ = self._make
        signals.worker_init.disconnect(self._watch_decoding)
        if self._on_decode_error is not None:
            _consumer().on_decode_error = self._on_decode_error
            self._on_decode_error = None
        signals.task_unknown.disconnect(_unknown)
        signals.task_rejected.disconnect(_rejected)

    def _watch_decoding(self, **_: Any) -> None:
        """Record messages whose body cannot be read: Celery acknowledges them, and sends no signal."""
        if self._on_decode_error is not None:
            return
        original = self._on_decode_error = _consumer().on_decode_error
        active = self._active

        @wraps(original)
        def on_decode_error(consumer: Any, message: Any, error: Exception) -> Any:
            if active():
                try:
                    _refused_message(consumer, message, names.ERROR_UNDECODABLE)
                except Exception:  # noqa: BLE001 - tracing never changes what becomes of a message
                    _log.warning("a message that cannot be decoded was not recorded", exc_info=True)
            return original(consumer, message, error)

        _consumer().on_decode_error = on_decode_error

    def _choosing(self, make: Callable[..., None]) -> Callable[..., None]:
        """Wrap `Request.__init__`: choose the ids of the delivery's span, so that this process can close it.

        A receiver of `task_received` would do the same, and take ten times as long to call.
        """
        active = self._active

        @wraps(make)
        def __init__(request: Any, *args: Any, **options: Any) -> None:
            make(request, *args, **options)
            if not active():
                return
            headers = request.request_dict
            if not telemetry.is_silent() or not tracecontext.are_bare(headers):
                headers[names.REQUEST_CHOSEN_IDS] = (os.getpid(), choose(), taken_from())

        return __init__

    def _wrapped(
        self, method: Callable[..., Any], record: Callable[..., Delivery | None]
    ) -> Callable[..., Any]:
        active = self._active

        @wraps(method)
        def call(request: Any, *args: Any, **options: Any) -> Any:
            delivery = None
            if active():
                try:
                    delivery = record(request, *args, **options)
                except Exception:  # noqa: BLE001 - tracing never changes what becomes of a message
                    _log.warning("the end of %s was not recorded", request, exc_info=True)
            if delivery is None:
                return method(request, *args, **options)
            try:
                return method(
                    request, *args, **options
                )  # what Celery sends now (errbacks) follows from this end
            finally:
                otel_context.detach(delivery.token)

        return call


def _lost(request: Any, exc_info: Any, *_: Any, return_ok: bool = False, **__: Any) -> Delivery | None:
    """The pool reports a failure; with `return_ok` the child reported it, and has recorded it itself."""
    error = exc_info.exception
    if isinstance(error, _ExceptionWithTraceback):
        error = error.exc
    if isinstance(error, (SystemExit, KeyboardInterrupt)):  # the child says that it is leaving
        return _record(request, names.ERROR_WORKER_LOST, abandoned=type(error).__name__)
    if not return_ok and isinstance(error, WorkerLostError):
        how = _DEATH.search(str(error))
        return _record(request, names.ERROR_WORKER_LOST, abandoned=how[1] if how else "")
    return None


def _timed_out(request: Any, soft: bool, timeout: Any, **_: Any) -> Delivery | None:
    """The pool is about to kill a child that ran into its hard time limit."""
    return None if soft else _record(request, names.ERROR_TIME_LIMIT, abandoned="time limit")


def _revoked(request: Any, reason: str, terminated: bool, signum: Any, expired: bool) -> Delivery | None:
    """The message is discarded before it ran, or its child is terminated."""
    if terminated:
        return _record(request, names.ERROR_TERMINATED, abandoned=f"signal {signum}")
    return _record(request, names.ERROR_EXPIRED if expired else names.ERROR_REVOKED)


def _cancelled(request: Any, **_: Any) -> Delivery | None:
    """The worker is leaving cold, or has lost its broker: the child is terminated."""
    return _record(request, names.ERROR_TERMINATED, abandoned="cancelled")


def _unknown(sender: Any = None, message: Any = None, name: str = "", id: str = "", **_: Any) -> None:
    """No task of that name is registered in this worker."""
    _refused(sender, message, str(name), str(id), names.ERROR_UNKNOWN_TASK)


def _rejected(sender: Any = None, message: Any = None, **_: Any) -> None:
    """The message is none that Celery understands."""
    _refused_message(sender, message, names.ERROR_REJECTED)


def _record(request: Any, kind: str, *, abandoned: str | None = None) -> Delivery | None:
    """Record the end of one delivery, once, whatever else Celery calls about it; its context is then current."""
    if vars(request).get("_handrail_recorded") or is_ended(request.request_dict):
        return None
    request._handrail_recorded = True
    start = int(request.time_start * 1e9) if request.time_start else None
    task = request.task
    delivery = Delivery(
        task, broker_system(request.app), request.type, request.id, request.request_dict, start
    )
    claim_end(request.request_dict)
    if abandoned is not None:
        delivery.span.set_attribute(names.ABANDONED, True)
        delivery.span.set_attribute(names.ABANDONED_REASON, abandoned)
    delivery.close(kind)
    return delivery


def _consumer() -> Any:
    """Return the class that receives messages; only workers load it."""
    from celery.worker.consumer.consumer import Consumer

    return Consumer


def _refused_message(consumer: Any, message: Any, kind: str) -> None:
    headers = message.headers if isinstance(message.headers, dict) else {}
    _refused(consumer, message, str(headers.get("task", "")), str(headers.get("id", "")), kind)


def _refused(consumer: Any, message: Any, name: str, task_id: str, kind: str) -> None:
    headers = message.headers if isinstance(message.headers, dict) else {}
    request = {key: headers[key] for key in _READ if key in headers}
    request |= tracecontext.header_values(headers)
    request |= {"lang": "", "delivery_info": message.delivery_info, "hostname": consumer.hostname}
    delivery = Delivery(None, broker_system(consumer.app), name, task_id, request, app=consumer.app)
    otel_context.detach(delivery.token)
    delivery.close(kind)
    vars(message)[_REFUSED] = delivery.span.get_span_context()


def refused_as(message: Any) -> SpanContext | None:
    """Return the span of a message's refusal, for what follows from it; `None` when it was not recorded (yet)."""
    found = vars(message).get(_REFUSED)
    return found if isinstance(found, SpanContext) and found.is_valid else None
