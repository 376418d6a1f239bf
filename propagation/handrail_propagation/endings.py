"""Deliveries that end without the task's process saying so: revoked, expired, killed, timed out, unknown, refused.

Runs in the worker's main process. Each such delivery gets its one `process` span here, in the trace of its message.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from billiard import einfo
from billiard.exceptions import WorkerLostError
from celery import signals
from celery.worker.request import Request

from handrail_propagation import carrier
from handrail_propagation import conventions as names
from handrail_propagation.delivery import SPAN_ID_KEY, message_headers, start_process_span
from handrail_propagation.destination import broker_system
from handrail_propagation.ids import choose

_log = logging.getLogger(__name__)
_request: Any = Request
_ExceptionWithTraceback: type[Any] = vars(einfo)["ExceptionWithTraceback"]
_METHODS = ("on_failure", "on_timeout", "_announce_revoked")
_DEATH = re.compile(r"(signal \d+(?: \(\w+\))?|exitcode \d+)")


class Endings:
    """The hooks, put in and taken out together."""

    def __init__(self, active: Callable[[], bool]) -> None:
        self._active = active
        self._originals = {name: getattr(Request, name) for name in _METHODS}

    def connect(self) -> None:
        """Start recording."""
        before: dict[str, Callable[..., None]] = {
            "on_failure": _lost,
            "on_timeout": _timed_out,
            "_announce_revoked": _revoked,
        }
        for name, record in before.items():
            setattr(_request, name, self._wrapped(self._originals[name], record))
        signals.task_received.connect(_received, weak=False)
        signals.task_unknown.connect(_unknown, weak=False)
        signals.task_rejected.connect(_rejected, weak=False)

    def disconnect(self) -> None:
        """Put Celery's own methods back."""
        for name, original in self._originals.items():
            setattr(_request, name, original)
        signals.task_received.disconnect(_received)
        signals.task_unknown.disconnect(_unknown)
        signals.task_rejected.disconnect(_rejected)

    def _wrapped(self, method: Callable[..., Any], record: Callable[..., None]) -> Callable[..., Any]:
        active = self._active

        @wraps(method)
        def call(request: Any, *args: Any, **options: Any) -> Any:
            if active():
                try:
                    record(request, *args, **options)
                except Exception:  # noqa: BLE001 - tracing never changes what becomes of a message
                    _log.warning("the end of %s was not recorded", request, exc_info=True)
            return method(request, *args, **options)

        return call


def _received(request: Any = None, **_: Any) -> None:
    """Choose the span id of the delivery, so that this process can close it should the child die."""
    request.request_dict[SPAN_ID_KEY] = choose()


def _lost(request: Any, exc_info: Any, *_: Any, return_ok: bool = False, **__: Any) -> None:
    """The pool reports a failure; with `return_ok` the child reported it, and has recorded it itself."""
    error = exc_info.exception
    if isinstance(error, _ExceptionWithTraceback):
        error = error.exc
    if not return_ok and isinstance(error, WorkerLostError):
        how = _DEATH.search(str(error))
        _record(request, names.ERROR_WORKER_LOST, abandoned=how[1] if how else "")


def _timed_out(request: Any, soft: bool, timeout: Any, **_: Any) -> None:
    """The pool is about to kill a child that ran into its hard time limit."""
    if not soft:
        _record(request, names.ERROR_TIME_LIMIT, abandoned="time limit")


def _revoked(request: Any, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
    """The message is discarded before it ran, or its child is terminated."""
    if terminated:
        _record(request, names.ERROR_TERMINATED, abandoned=f"signal {signum}")
    else:
        _record(request, names.ERROR_EXPIRED if expired else names.ERROR_REVOKED)


def _unknown(sender: Any = None, message: Any = None, name: str = "", id: str = "", **_: Any) -> None:
    """No task of that name is registered in this worker."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    request = {**headers, "delivery_info": message.delivery_info, "hostname": sender.hostname}
    _write(sender.app, str(name), str(id), request, names.ERROR_UNKNOWN_TASK)


def _rejected(sender: Any = None, message: Any = None, **_: Any) -> None:
    """The message is none that Celery understands."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    request = {**headers, "delivery_info": message.delivery_info, "hostname": sender.hostname}
    _write(
        sender.app, str(headers.get("task", "")), str(headers.get("id", "")), request, names.ERROR_REJECTED
    )


def _record(request: Any, kind: str, *, abandoned: str | None = None) -> None:
    """Record the end of one delivery, once, whatever else Celery calls about it."""
    if vars(request).get("_handrail_recorded"):
        return
    request._handrail_recorded = True
    started = request.time_start
    _write(request.app, request.type, request.id, request.request_dict, kind, started, abandoned)


def _write(
    app: Any,
    name: str,
    task_id: str,
    request: dict[str, Any],
    kind: str,
    started: float | None = None,
    abandoned: str | None = None,
) -> None:
    headers = message_headers(request)
    sent = headers.get(names.HEADER_MESSAGE)
    span = start_process_span(
        name,
        broker_system(app),
        task_id,
        request,
        carrier.extract(headers),
        sent if isinstance(sent, dict) else {},
        start_time=int(started * 1e9) if started else time.time_ns(),
    )
    if abandoned is not None:
        span.set_attribute(names.ABANDONED, True)
        span.set_attribute(names.ABANDONED_REASON, abandoned)
    carrier.fail(span, kind)
    span.end()
