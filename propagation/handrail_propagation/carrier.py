"""Trace context into and out of the headers of any message, on any broker. Public: see docs/beyond-celery.md.

What the Celery integration is made of; `send_span` and `process_span` serve a producer or consumer that is
not Celery. Headers are a plain mapping of text; nothing in here knows where they travel.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    set_span_in_context,
)

from handrail_propagation import baggage, telemetry, tracecontext
from handrail_propagation import conventions as names
from handrail_propagation.trust import Trust

__all__ = ["Received", "extract", "inject", "process_span", "send_span"]

CREATION_CONTEXT = MappingProxyType({names.LINK_TYPE: names.LINK_CREATION_CONTEXT})
SPAN_KEY = next(iter(set_span_in_context(INVALID_SPAN, Context())))
"""OpenTelemetry's own key for the current span of a context."""
RETRY_OF = MappingProxyType({names.LINK_TYPE: names.LINK_RETRY_OF})
_CLAIMED = MappingProxyType({names.LINK_TYPE: names.LINK_CLAIMED})
Links = Sequence[tuple[SpanContext, Mapping[str, Any]]]
"""Links as pairs of context and attributes."""


class Received(NamedTuple):
    """What a message's headers said: the context to work in, and the creation context that was claimed.

    `traceparents` are the values of that header as they came, whatever they are worth; `trust` is what they
    were taken for.
    """

    context: Context
    creation: SpanContext | None
    traceparents: Sequence[str] = ()
    trust: Trust = "continue"

    def links(self) -> list[tuple[SpanContext, Mapping[str, Any]]]:
        """Return the link that a `process` span has to its message's creation context, or to the claimed one."""
        return [*links_of(self.creation, self.trust)]


def links_of(creation: SpanContext | None, trust: Trust) -> Links:
    """Return the link to a creation context, or to the claimed one, if there is any."""
    if creation is None:
        return ()
    return ((creation, CREATION_CONTEXT if trust == "continue" else _CLAIMED),)


def note_unused(span: Span, trust: Trust) -> None:
    """Say on the span of a delivery why the traceparent that its message had is not its parent; never what it was."""
    why = names.TRACEPARENT_NOT_TRUSTED if trust == "drop" else names.TRACEPARENT_UNPARSABLE
    span.set_attribute(names.MESSAGE_TRACEPARENT, why)


def inject(headers: MutableMapping[str, Any], context: Context | None = None) -> None:
    """Write the W3C headers of a context (default: the current one) into `headers`.

    Those that are there already, in any spelling of their names, are replaced or removed: what the context
    does not hold does not travel.
    """
    context = otel_context.get_current() if context is None else context
    if headers:
        remove(headers, *_W3C)
    write(headers, span_context_in(context), context)


def write(headers: MutableMapping[str, Any], span: SpanContext, context: Context) -> None:
    """Write the W3C headers of a span and of a context's baggage into headers that have none."""
    if span.is_valid:
        headers[names.HEADER_TRACEPARENT] = tracecontext.format_traceparent(span)
        if (state := span.trace_state) is not tracecontext.NO_STATE and (
            text := tracecontext.format_tracestate(state)
        ):
            headers[names.HEADER_TRACESTATE] = text
    if baggage.KEY in context and (entries := baggage.format(context, telemetry.config().baggage_keys)):
        headers[names.HEADER_BAGGAGE] = entries


def span_context_in(context: Context) -> SpanContext:
    """Return the span context of a context's current span; an invalid one where there is none."""
    span = context.get(SPAN_KEY)
    return span.get_span_context() if isinstance(span, Span) else INVALID_SPAN_CONTEXT


def remove(headers: MutableMapping[str, Any], *header_names: str) -> None:
    """Remove headers by lower-case name, in whatever spelling they are there.

    Of more headers than anybody sends, only the exact names are removed: nobody reads the others.
    """
    if len(headers) > tracecontext.MANY_HEADERS:
        for name in header_names:
            headers.pop(name, None)
        return
    lengths = {len(name) for name in header_names}
    for key in [
        key for key in headers if isinstance(key, str) and len(key) in lengths and key.lower() in header_names
    ]:
        del headers[key]


def extract(headers: Mapping[Any, Any], *, trust: Trust | None = None) -> Received:
    """Read the W3C headers of a message into a fresh context.

    `trust` (default: `HANDRAIL_TRUST`, the strictest word of it) decides what they are worth: `continue` makes
    the claimed span the parent, `restart` only the target of a link, `drop` nothing. Baggage needs `continue`.
    Whatever the headers hold, this neither raises nor costs more than a small constant.
    """
    trust = trust or telemetry.trust_of(None, None)
    creation, traceparents, entries = claims(headers, trust)
    context = Context()
    if creation is not None and trust == "continue":
        context = Context({SPAN_KEY: NonRecordingSpan(creation)})
    if entries:
        context = baggage.parse(entries, telemetry.config().baggage_keys, context)
    return Received(context, creation, traceparents, trust)


def claims(
    headers: Mapping[Any, Any], trust: Trust
) -> tuple[SpanContext | None, Sequence[str], Sequence[str]]:
    """Return the creation context that the W3C headers claim, and the values of traceparent and baggage."""
    values = tracecontext.header_values(headers)
    traceparents = values.get(names.HEADER_TRACEPARENT, ())
    if trust == "drop":
        return None, traceparents, ()
    claimed = tracecontext.parse(traceparents, values.get(names.HEADER_TRACESTATE, ()))
    return claimed, traceparents, values.get(names.HEADER_BAGGAGE, ()) if trust == "continue" else ()


@contextmanager
def send_span(
    destination: str,
    headers: MutableMapping[str, Any],
    *,
    system: str,
    message_id: str | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Iterator[Span]:
    """Span `send {destination}` around handing one message to a broker; fills in its `headers`.

    Hand the message over inside: the span ends when the broker has it, and a consumer's `process` span goes
    below it. `system` is the broker's name in the messaging conventions (`redis`, `rabbitmq`, `kafka`, ...).
    `message_id` is what the consumer will call the message, where that is known before it is sent. An
    exception ends the span as failed, with the exception's type and never its text, and passes on.
    """
    span = telemetry.tracer().start_span(
        f"{names.OPERATION_SEND} {destination}",
        kind=SpanKind.PRODUCER,
        attributes=_messaging(names.OPERATION_SEND, system, destination, message_id, attributes),
    )
    with _current(span, set_span_in_context(span), system, destination, send=True):
        inject(headers)
        yield span


@contextmanager
def process_span(
    destination: str,
    headers: Mapping[Any, Any],
    *,
    system: str,
    message_id: str | None = None,
    attempt: int = 1,
    redelivered: bool | None = None,
    retry_of: SpanContext | None = None,
    sent_at: float | None = None,
    client_id: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    trust: Trust | None = None,
) -> Iterator[Span]:
    """Span `process {destination}` around the work on one delivered message, under its creation context.

    `destination` is the queue that the message was taken from; it decides about `trust`, where that is not
    given. The span and the message's baggage are current inside. One delivery is one span: a message that comes again
    is another attempt, from 1, under the same `send`. `redelivered` (default: `attempt` above 1) says that the
    broker has delivered it before; `retry_of` is the span of the attempt before, where that is known; `sent_at` is
    when it was sent, in seconds since the epoch, if the message says so; `client_id` names the consumer.

    An exception ends the span as failed, with the exception's type and never its text, and passes on.
    """
    received = extract(headers, trust=trust or telemetry.trust_of(None, destination))
    described = _messaging(names.OPERATION_PROCESS, system, destination, message_id, attributes)
    described[names.MESSAGE_ATTEMPT] = attempt
    described[names.MESSAGE_REDELIVERED] = attempt > 1 if redelivered is None else redelivered
    if client_id is not None:
        described[names.MESSAGING_CLIENT_ID] = client_id
    if sent_at is not None:
        described[names.MESSAGE_ENQUEUED_AT] = datetime.fromtimestamp(sent_at, UTC).isoformat()
        described[names.MESSAGE_QUEUE_WAIT] = round(max(0.0, time.time() - sent_at), 6)
    links = received.links()
    if retry_of is not None:
        links.append((retry_of, RETRY_OF))
    span = telemetry.tracer().start_span(
        f"{names.OPERATION_PROCESS} {destination}",
        context=received.context,
        kind=SpanKind.CONSUMER,
        attributes=described,
        links=[Link(*link) for link in links],
    )
    if received.creation is None and received.traceparents:
        note_unused(span, received.trust)
    with _current(span, set_span_in_context(span, received.context), system, destination, send=False):
        yield span


@contextmanager
def _current(span: Span, context: Context, system: str, destination: str, *, send: bool) -> Iterator[None]:
    """Make a span current, end it as failed when an exception passes, and count the message."""
    metrics = telemetry.messaging_metrics()
    started = time.perf_counter()
    token = otel_context.attach(context)
    kind: str | None = None
    try:
        yield
    except BaseException as error:
        kind = error_type(error)
        fail(span, kind)
        raise
    finally:
        otel_context.detach(token)
        span.end()
        if metrics is not None:
            count = metrics.sent if send else metrics.processed
            count(time.perf_counter() - started, system, destination, kind)


def fail(span: Span, kind: str) -> None:
    """Mark a span as failed: `error.type` and the status say what kind of error, never its text."""
    if span.is_recording():
        span.set_attribute(names.ERROR_TYPE, kind)
        span.set_status(Status(StatusCode.ERROR, kind))


def error_type(error: BaseException | type[BaseException]) -> str:
    """Return the low-cardinality name of an exception: its class, with the module unless built in."""
    kind = error if isinstance(error, type) else type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


_W3C = frozenset({names.HEADER_TRACEPARENT, names.HEADER_TRACESTATE, names.HEADER_BAGGAGE})


def _messaging(
    operation: str,
    system: str,
    destination: str,
    message_id: str | None,
    more: Mapping[str, Any] | None,
) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        names.MESSAGING_SYSTEM: system,
        names.MESSAGING_OPERATION_NAME: operation,
        names.MESSAGING_OPERATION_TYPE: operation,
        names.MESSAGING_DESTINATION_NAME: destination,
    }
    if message_id is not None:
        attributes[names.MESSAGING_MESSAGE_ID] = message_id
    return attributes | dict(more) if more else attributes
