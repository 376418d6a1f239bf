"""kombu without Celery: publish with trace context, and callbacks with a span for each delivery.

Messages of Celery are understood (a task's id is the message's id), and Celery workers understand these.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final

from opentelemetry.trace import Span, SpanContext

from handrail_propagation import carrier, telemetry
from handrail_propagation import conventions as names
from handrail_propagation.destination import (
    connection_system,
    destination_name,
    destination_of_delivery,
)
from handrail_propagation.sender import (
    DELIVERY_COUNT,
    attempt_of,
    message_headers,
    seconds_of,
    sent_with,
)
from handrail_propagation.trust import Trust, taken_from

__all__ = ["publish", "traced"]

Callback = Callable[[Any, Any], Any]
"""A kombu callback: `callback(body, message)`."""

_ACKNOWLEDGED: Final = "ACK"
_REQUEUED: Final = "REQUEUED"
_REMEMBERED: Final = 1024
"""Attempts that a callback remembers, each some 300 bytes."""


def publish(
    producer: Any,
    body: Any,
    *,
    exchange: Any = "",
    routing_key: str = "",
    headers: Mapping[str, Any] | None = None,
    message_id: str | None = None,
    **options: Any,
) -> str:
    """Publish with a kombu `Producer` in a `send {destination}` span, and return the message's id.

    `exchange` is a name or a kombu `Exchange` (default: the producer's); `headers` are the application's, not
    changed. `message_id` (default: a Celery task's id in `headers`, else a new UUID) travels as the property of
    that name. `options` go to `Producer.publish`: `serializer`, `declare`, `retry`, ... Raises what kombu
    raises; the span has its type then.
    """
    carried = dict(headers or {})
    carried[names.HEADER_MESSAGE] = time.time_ns() // 1000
    message_id = message_id or _task_id(carried) or str(uuid.uuid4())
    target = exchange or producer.exchange
    key = routing_key or producer.routing_key or ""
    system = connection_system(producer.connection)
    destination = destination_name(system, str(getattr(target, "name", target)), key)
    with carrier.send_span(destination, carried, system=system, message_id=message_id):
        producer.publish(
            body, exchange=target, routing_key=key, headers=carried, message_id=message_id, **options
        )
    return message_id


def traced(callback: Callback, *, acknowledge: bool = False, trust: Trust | None = None) -> Callback:
    """Wrap a callback of a kombu `Consumer`: each delivery is worked on in a `process {destination}` span.

    The callback acknowledges, as everywhere in kombu; a message that it rejects or requeues makes its span a
    failed one (`rejected`). With `acknowledge=True` it is acknowledged when the callback returns, if the callback
    has not said anything itself, and requeued when it raises: then it comes again, as the next attempt. The exception
    passes on. An attempt is linked (`retry_of`) to the last one before it that this callback knows of; where the broker
    counts deliveries, only to the one right before. `trust` (default: what `instrument()` or `HANDRAIL_TRUST` says of
    the queue that the consumer reads) is what trace context in a message is worth.
    """

    unsettled = _Unsettled()

    @wraps(callback)
    def process(body: Any, message: Any) -> Any:
        headers = message_headers(dict(message.headers))
        worth = trust or telemetry.trust_of(None, taken_from())
        sent = sent_with(headers, worth)
        info = {**message.delivery_info, "redelivered": _redelivered(message)}
        system = connection_system(message.channel.connection.client)
        message_id = _task_id(headers) or message.properties.get("message_id")
        attempt = attempt_of({**headers, "delivery_info": info}, sent)
        before = unsettled.take(message_id) if info["redelivered"] else None
        if before is not None:
            if DELIVERY_COUNT not in headers:
                attempt = max(attempt, before[0] + 1)  # all that the broker said is "again"
            elif before[0] + 1 != attempt:
                before = None  # somebody else had it in between
        with carrier.process_span(
            destination_of_delivery(system, info, taken_from()),
            headers,
            system=system,
            message_id=message_id,
            attempt=attempt,
            redelivered=info["redelivered"],
            retry_of=before[1] if before is not None else None,
            sent_at=seconds_of(sent.get("at")),
            trust=worth,
        ) as span:
            try:
                answer = callback(body, message)
                if acknowledge and not message.acknowledged:
                    message.ack()
                unsettled.keep(message, message_id, attempt, span)
            except BaseException:
                unsettled.keep(message, message_id, attempt, span)  # before anybody else can have it
                if acknowledge and not message.acknowledged:
                    message.requeue()
                raise
            if message.acknowledged and message._state != _ACKNOWLEDGED:
                carrier.fail(span, names.ERROR_REJECTED)
        return answer

    return process


class _Unsettled:
    """The last attempts at messages that may come again, perhaps to this callback: no broker keeps such a note."""

    def __init__(self) -> None:
        self._attempts: OrderedDict[str, tuple[int, SpanContext]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, message: Any, message_id: object, attempt: int, span: Span) -> None:
        """Remember an attempt, unless it has settled its message for good."""
        if isinstance(message_id, str) and (not message.acknowledged or message._state == _REQUEUED):
            with self._lock:
                self._attempts[message_id] = attempt, span.get_span_context()
                if len(self._attempts) > _REMEMBERED:  # the oldest went to other consumers
                    self._attempts.popitem(last=False)

    def take(self, message_id: object) -> tuple[int, SpanContext] | None:
        """Return number and span of the last attempt at a message, and forget it; `None` if there was none here."""
        with self._lock:
            return self._attempts.pop(message_id, None) if isinstance(message_id, str) else None


def _redelivered(message: Any) -> bool:
    """Whether the broker has delivered a message before: AMQP says so, kombu's Redis says so in a header."""
    return bool(message.delivery_info.get("redelivered") or message.headers.get("redelivered"))


def _task_id(headers: Mapping[str, Any]) -> str | None:
    task_id = headers.get("id")
    return task_id if headers.get("task") and isinstance(task_id, str) else None
