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
from functools import wraps
from typing import Any, Final

from celery import states
from celery.app import amqp
from celery.exceptions import SoftTimeLimitExceeded
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from handrail_propagation import baggage, carrier, chords, telemetry, tracecontext
from handrail_propagation import conventions as names
from handrail_propagation.messagespan import MessageSpan
from handrail_propagation.processspan import claim_end, destination_of, queue_of, start_process_span
from handrail_propagation.sender import (
    attempt_of,
    delegator_of,
    message_headers,
    sent_with,
)

_log = logging.getLogger(__name__)
# Set by Celery (5.7) while it publishes what follows a finished task
_dispatching: ContextVar[bool] = vars(amqp).get("_callback_publish_retry") or ContextVar(
    "_never_dispatching", default=False
)
_failing: ContextVar[bool] = ContextVar("handrail-calling-errbacks", default=False)
_GEVENTS_TIME_LIMIT: Final = "gevent.timeout.Timeout"
"""What gevent's pool raises inside of a task that has reached its hard time limit."""
_DELIVERY = otel_context.create_key("handrail-delivery")


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
            if error is not None and not isinstance(error, Exception) and self._is_watched():
                return  # this child is going down, and the worker's main process records how
            if not claim_end(self.request):
                return  # it was terminated or ran out of time in this process, which has recorded that
            if error is not None:
                kind = carrier.error_type(error)
                self.close(names.ERROR_TIME_LIMIT if kind == _GEVENTS_TIME_LIMIT else kind)
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
            destination = destination_of(self._system, self.request)
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
