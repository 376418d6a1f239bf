"""A Celery message on its way out: one `send {destination}` span around the real publish.

Wraps Celery's own message sender, so that a failed publish, `send_task()` of an unknown name and every canvas
primitive pass through the same few lines, and no state outlives the call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    get_current_span,
    set_span_in_context,
)

from handrail_propagation import carrier, chords, telemetry, tracecontext
from handrail_propagation import conventions as names
from handrail_propagation.delivery import (
    CHOSEN_IDS,
    DELIVERY_COUNT,
    Delivery,
    current_delivery,
    delegator_of,
)
from handrail_propagation.destination import broker_system, destination_of_options

_log = logging.getLogger(__name__)


_PREDECESSOR = {names.LINK_TYPE: names.LINK_PREDECESSOR}
_OF_ONE_DELIVERY = (CHOSEN_IDS, DELIVERY_COUNT)


def traced_sender(app: Celery, send: Callable[..., Any], active: Callable[[], bool]) -> Callable[..., Any]:
    """Wrap what `AMQP.send_task_message` is: `send(producer, name, message, **options)`."""
    system = broker_system(app)

    @wraps(send)
    def send_task_message(producer: Any, name: str, message: Any, *args: Any, **options: Any) -> Any:
        if not active() or args:
            return send(producer, name, message, *args, **options)
        try:
            sending = Sending(app, system, name, message, options)
        except SoftTimeLimitExceeded:
            raise  # meant for the task that is sending
        except Exception:  # noqa: BLE001 - tracing never fails a publish
            _log.warning("message %s is sent without trace context", name, exc_info=True)
            return send(producer, name, message, **options)
        try:
            return send(producer, name, message, **options)
        except BaseException as error:
            sending.failed(error)
            raise
        finally:
            sending.end()

    return send_task_message


class Sending:
    """One publish: its span (none for a retry), and what was put into the message's headers."""

    __slots__ = ("destination", "error", "metrics", "span", "started", "system", "token")

    def __init__(self, app: Celery, system: str, name: str, message: Any, options: dict[str, Any]) -> None:
        envelope: dict[str, Any] = message.headers or message.body  # protocol 1 keeps everything in the body
        embed = message.body[2] if isinstance(message.body, tuple) else message.body
        custom: dict[str, Any] = options.get("headers") or {}
        delivery = current_delivery()
        self.span = None
        self.token = None
        self.error: str | None = None
        self.metrics = telemetry.messaging_metrics()
        self.started = time.perf_counter() if self.metrics is not None else 0.0
        self.system = system
        self.destination = destination_of_options(app, options)
        given = tracecontext.header_values(custom)
        sent: dict[str, Any] = {"at": time.time()}

        if envelope.get("retries") and names.HEADER_TRACEPARENT in given:
            headers = self._again(custom, delivery, sent)
        else:
            if delivery is not None and (envelope.get("replaced_task_nesting") or 0) > delivery.nesting:
                delivery.replaced = True
            parent, links = _placement(given, delivery, envelope["id"])
            headers = dict(custom)
            headers.pop(names.HEADER_MESSAGE, None)
            self.span = telemetry.tracer().start_span(
                f"{names.OPERATION_SEND} {self.destination}",
                context=parent,
                kind=SpanKind.PRODUCER,
                attributes=_attributes(system, self.destination, name, envelope),
                links=links,
            )
            here = set_span_in_context(self.span, parent)
            self.token = otel_context.attach(here)
            if _creation_of(given) is None or _copied(given, delivery):
                carrier.inject(headers, here)
            if embed.get("chain") or embed.get("callbacks") or embed.get("errbacks") or embed.get("chord"):
                delegator = get_current_span(parent).get_span_context()
                if delivery is not None and delivery.replaced and delivery.delegator is not None:
                    delegator = delivery.delegator  # what follows a task follows its replacement
                if delegator.is_valid:
                    sent["from"] = tracecontext.format_traceparent(delegator)
        headers[names.HEADER_MESSAGE] = sent
        for key in _OF_ONE_DELIVERY:  # Celery copies the request's own keys into a retry
            headers.pop(key, None)
        options["headers"] = headers
        _blank_arguments(message)

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

    def end(self) -> None:
        """The broker has the message, or never will."""
        if self.token is not None:
            otel_context.detach(self.token)
        if self.span is not None:
            self.span.end()
        if self.metrics is not None:
            elapsed = time.perf_counter() - self.started
            self.metrics.sent(elapsed, self.system, self.destination, self.error)


def _placement(
    given: dict[str, list[str]], delivery: Delivery | None, task_id: str
) -> tuple[Context, list[Link]]:
    """Return the context that a `send` span starts in, and its links."""
    links: list[Link] = []
    if (creation := _creation_of(given)) is not None and not _copied(given, delivery):
        # The application made the creation context itself: it stays, and this span refers to it.
        links.append(Link(creation, {names.LINK_TYPE: names.LINK_CREATION_CONTEXT}))
    if delivery is not None and delivery.dispatching():
        links += [Link(done, _PREDECESSOR) for done in _predecessors(delivery, task_id) if done.is_valid]
        if delivery.delegator is not None:
            # The next step of a chain is a child of whoever built the chain, not of the step before it.
            return set_span_in_context(NonRecordingSpan(delivery.delegator)), links
    return otel_context.get_current(), links


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


def _attributes(system: str, destination: str, name: str, envelope: dict[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        names.MESSAGING_SYSTEM: system,
        names.MESSAGING_OPERATION_NAME: names.OPERATION_SEND,
        names.MESSAGING_OPERATION_TYPE: names.OPERATION_SEND,
        names.MESSAGING_DESTINATION_NAME: destination,
        names.MESSAGING_MESSAGE_ID: envelope["id"],
        names.CELERY_ACTION: names.CELERY_ACTION_SEND,
        names.CELERY_TASK_NAME: name,
    }
    for key, attribute in _LINEAGE:
        if value := envelope.get(key):
            attributes[attribute] = value
    return attributes


_LINEAGE = (
    ("root_id", names.MESSAGE_ROOT_ID),
    ("parent_id", names.MESSAGE_PARENT_ID),
    ("eta", names.CELERY_ETA),
    ("expires", names.CELERY_EXPIRES),
)


def _blank_arguments(message: Any) -> None:
    """Celery puts a readable copy of the arguments into headers and monitoring events: not with us."""
    for key in ("argsrepr", "kwargsrepr"):
        if key in message.headers:
            message.headers[key] = ""
    if message.sent_event:
        message.sent_event.update(args="", kwargs="")
