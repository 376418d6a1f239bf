"""A Celery message on its way out: one `send {destination}` span around the real publish.

Wraps Celery's own message sender, so that a failed publish, `send_task()` of an unknown name and every canvas
primitive pass through the same few lines, and no state outlives the call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    set_span_in_context,
)

from handrail_propagation import arguments, carrier, chords, fanout, telemetry, tracecontext
from handrail_propagation import conventions as names
from handrail_propagation.delivery import Delivery, delivery_in
from handrail_propagation.destination import broker_system, destination_of_options
from handrail_propagation.lineage import run_id_of
from handrail_propagation.messagespan import Links, SpanTemplate
from handrail_propagation.otlp.details import of_send
from handrail_propagation.sender import DELIVERY_COUNT, delegator_of

_log = logging.getLogger(__name__)


_PREDECESSOR = MappingProxyType({names.LINK_TYPE: names.LINK_PREDECESSOR})
_OF_ONE_DELIVERY = (names.HEADER_MESSAGE, names.REQUEST_CHOSEN_IDS, DELIVERY_COUNT)


def traced_sender(app: Celery, send: Callable[..., Any], active: Callable[[], bool]) -> Callable[..., Any]:
    """Wrap what `AMQP.send_task_message` is: `send(producer, name, message, **options)`."""
    system = broker_system(app)

    @wraps(send)
    def send_task_message(producer: Any, name: str, message: Any, *args: Any, **options: Any) -> Any:
        if not active() or args:
            return send(producer, name, message, *args, **options)
        if telemetry.is_silent() and not options.get("headers") and not otel_context.get_current():
            arguments.blank(message)
            return send(producer, name, message, **options)
        try:
            sending = Sending(app, system, name, message, options)
        except SoftTimeLimitExceeded:
            raise  # meant for the task that is sending
        except Exception:  # noqa: BLE001 - tracing never fails a publish
            _log.warning("message %s is sent without trace context", name, exc_info=True)
            return send(producer, name, message, **options)
        batch = fanout.batch_of(app)
        if batch is not None and batch.producer is not producer:
            batch = None
        try:
            return send(producer, name, message, **options)
        except BaseException as error:
            sending.failed(error)
            batch = None
            raise
        finally:
            sending.leave()
            if batch is None:
                sending.end()
            else:
                batch.add(sending)

    return send_task_message


class Sending:
    """One publish: its span (none for a retry), and what was put into the message's headers."""

    __slots__ = ("destination", "error", "metrics", "span", "started", "system", "token")

    def __init__(self, app: Celery, system: str, name: str, message: Any, options: dict[str, Any]) -> None:
        body = message.body
        envelope: dict[str, Any] = message.headers or body  # protocol 1 keeps everything in the body
        custom: dict[str, Any] = options.get("headers") or {}
        context = otel_context.get_current()
        delivery = delivery_in(context)
        now = telemetry.get()
        messages = now.messages
        self.span = None
        self.token = None
        self.error: str | None = None
        self.metrics = now.messaging_metrics
        self.started = time.perf_counter() if self.metrics is not None else 0.0
        self.system = system
        self.destination = destination_of_options(app, system, options)
        given = tracecontext.header_values(custom)
        sent: dict[str, Any] = {}
        now_ns = 0 if messages.disabled else time.time_ns()

        if envelope.get("retries") and names.HEADER_TRACEPARENT in given:
            headers = self._again(custom, delivery, sent)
        else:
            if delivery is not None and (envelope.get("replaced_task_nesting") or 0) > delivery.nesting:
                delivery.replaced = True
            links: Links = ()
            if given or delivery is not None:
                context, links = _placement(context, given, delivery, envelope["id"])
            parent = carrier.span_context_in(context) if context else INVALID_SPAN_CONTEXT
            headers = dict(custom)
            here = parent
            if now_ns:
                details = *_lineage(envelope), run_id_of(context) if context else None
                self.span = span = messages.start_span(
                    _template(system, self.destination, name),
                    context,
                    parent,
                    details,
                    links,
                    start_time=now_ns,
                )
                here = span.get_span_context()
                context = Context({**context, carrier.SPAN_KEY: span})
            if not custom:
                carrier.write(headers, here, context)
            elif not given or _creation_of(given) is None or _copied(given, delivery):
                carrier.inject(headers, context)
            embed = body[2] if isinstance(body, tuple) else body
            if embed.get("chain") or embed.get("callbacks") or embed.get("errbacks") or embed.get("chord"):
                if delivery is not None and delivery.replaced and delivery.delegator is not None:
                    parent = delivery.delegator  # what follows a task follows its replacement
                if parent.is_valid:
                    sent["from"] = tracecontext.format_traceparent(parent)
        for key in _OF_ONE_DELIVERY if custom else ():  # Celery copies the request's own keys into a retry
            headers.pop(key, None)
        if now_ns:
            headers[names.HEADER_MESSAGE] = {"at": now_ns / 1e9, **sent} if sent else now_ns // 1000
        elif sent:
            headers[names.HEADER_MESSAGE] = sent
        if headers or custom:
            options["headers"] = headers
        arguments.blank(message)
        if self.span is not None:
            self.token = otel_context.attach(context)

    def _again(
        self, custom: dict[str, Any], delivery: Delivery | None, sent: dict[str, Any]
    ) -> dict[str, Any]:
        """Headers of a retry: the creation context stays that of the first send, so attempts are siblings."""
        headers = dict(custom)
        before = headers.get(names.HEADER_MESSAGE)
        delegator = delivery.delegator if delivery is not None else delegator_of(before)
        if delegator is not None:
            sent["from"] = tracecontext.format_traceparent(delegator)
        if delivery is not None:
            # Baggage as it is now: what the task has cleared does not come back with the copied headers.
            now: dict[str, Any] = {}
            carrier.inject(now)
            carrier.remove(headers, names.HEADER_BAGGAGE)
            if names.HEADER_BAGGAGE in now:
                headers[names.HEADER_BAGGAGE] = now[names.HEADER_BAGGAGE]
            sent["attempt"] = delivery.attempt + 1
            sent["retry_of"] = tracecontext.format_traceparent(delivery.span.get_span_context())
        return headers

    def failed(self, error: BaseException) -> None:
        """The publish raised: the span says so, with the error's type."""
        self.error = carrier.error_type(error)
        if self.span is not None:
            carrier.fail(self.span, self.error)

    def leave(self) -> None:
        """Put the context back that was current before; the message may still wait in a batch."""
        if self.token is not None:
            otel_context.detach(self.token)

    def end(self) -> None:
        """The broker has the message, or never will."""
        if self.span is not None:
            self.span.end()
        if self.metrics is not None:
            elapsed = time.perf_counter() - self.started
            self.metrics.sent(elapsed, self.system, self.destination, self.error)


def _placement(
    context: Context, given: dict[str, list[str]], delivery: Delivery | None, task_id: str
) -> tuple[Context, Links]:
    """Return the context that a `send` span starts in, and its links; `context` is the current one."""
    links: list[tuple[SpanContext, Mapping[str, Any]]] = []
    if (creation := _creation_of(given)) is not None and not _copied(given, delivery):
        # The application made the creation context itself: it stays, and this span refers to it.
        links.append((creation, carrier.CREATION_CONTEXT))
    if delivery is not None and delivery.dispatching():
        links += [(done, _PREDECESSOR) for done in _predecessors(delivery, task_id) if done.is_valid]
        if delivery.delegator is not None:
            # The next step of a chain is a child of whoever built the chain, not of the step before it.
            return set_span_in_context(NonRecordingSpan(delivery.delegator), context), links
    return context, links


def _predecessors(delivery: Delivery, task_id: str) -> list[SpanContext]:
    """Return the runs whose end lets this message start: all of a chord's header for its body, else this one."""
    chord = delivery.request.get("chord")
    if chord and chords.belongs_to_body(task_id, chord):
        return chords.runs(delivery.task.backend, delivery.request.get("group")) or [
            delivery.span.get_span_context()
        ]
    return [delivery.span.get_span_context()]


def _creation_of(given: dict[str, list[str]]) -> SpanContext | None:
    if not given:
        return None
    return tracecontext.parse(given.get(names.HEADER_TRACEPARENT, ()), ())


def _copied(given: dict[str, list[str]], delivery: Delivery | None) -> bool:
    """Whether the headers are those of the message in hand (`replace`, `headers=request.headers`)."""
    return delivery is not None and list(given.get(names.HEADER_TRACEPARENT, ())) == list(
        delivery.traceparents
    )


@lru_cache(maxsize=1024)
def _template(system: str, destination: str, name: str) -> SpanTemplate:
    """Return what all `send` spans of one task's messages to one destination have in common."""
    shared = {
        names.MESSAGING_SYSTEM: system,
        names.MESSAGING_OPERATION_NAME: names.OPERATION_SEND,
        names.MESSAGING_OPERATION_TYPE: names.OPERATION_SEND,
        names.MESSAGING_DESTINATION_NAME: destination,
        names.CELERY_ACTION: names.CELERY_ACTION_SEND,
        names.CELERY_TASK_NAME: name,
    }
    return SpanTemplate(
        f"{names.OPERATION_SEND} {destination}", SpanKind.PRODUCER, shared, _attributes, of_send
    )


_LINEAGE: Final = ("id", "root_id", "parent_id", "eta", "expires")
_all_of: Final = itemgetter(*_LINEAGE)
_NAMES: Final = (
    names.MESSAGING_MESSAGE_ID,
    names.MESSAGE_ROOT_ID,
    names.MESSAGE_PARENT_ID,
    names.CELERY_ETA,
    names.CELERY_EXPIRES,
    names.RUN_ID,
)


def _lineage(envelope: Mapping[str, Any]) -> tuple[Any, ...]:
    try:
        found: tuple[Any, ...] = _all_of(envelope)
    except KeyError:  # of protocol 1, which has less
        found = tuple(map(envelope.get, _LINEAGE))
    return found


def _attributes(details: tuple[Any, ...]) -> dict[str, Any]:
    """Return the attributes of one `send` span; `details` go by `_NAMES`."""
    return {name: str(value) for name, value in zip(_NAMES, details, strict=True) if value}
