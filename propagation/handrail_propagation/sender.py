"""What a message says of itself beside its trace context: when it was sent, who delegated, which attempt it is.

Read from headers that anybody may have written: nothing in here raises on what they hold.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from opentelemetry.trace import SpanContext

from handrail_propagation import conventions as names
from handrail_propagation import tracecontext
from handrail_propagation.trust import Trust

DELIVERY_COUNT: Final = "x-delivery-count"


def message_headers(request: dict[str, Any]) -> dict[str, Any]:
    """Return the headers of a delivered message out of Celery's request; protocol 1 has them one level down."""
    if "lang" in request:  # as every message of protocol 2
        return request
    nested = request.get("headers")
    return nested if isinstance(nested, dict) else request  # neither is copied, for it may be huge


def sent_with(headers: dict[str, Any], trust: Trust) -> dict[str, Any]:
    """Return what the sender of a message noted in it, as far as this consumer trusts the sender.

    Where the time is all there is to note, the header is that: an integer, in microseconds since 1970.
    """
    sent = headers.get(names.HEADER_MESSAGE)
    if type(sent) is int:
        return {"at": sent}
    if not isinstance(sent, dict):
        return {}
    return sent if trust == "continue" else {"at": sent.get("at")}


def seconds_of(at: object) -> float | None:
    """Return when a message was sent, in seconds since 1970, as its sender noted it: in seconds or microseconds."""
    seconds = at / 1e6 if type(at) is int and at < 1 << 63 else at
    return seconds if isinstance(seconds, float) and 0 < seconds < 1 << 33 else None


@lru_cache(maxsize=64)
def utc_second(whole: int) -> str:
    """Return whole seconds since 1970 as `datetime` writes them, without the zone; many messages are of one second."""
    return datetime.fromtimestamp(whole, UTC).isoformat().removesuffix("+00:00")


def delegator_of(sent: object) -> SpanContext | None:
    """Return who built what follows a task, as the sender of its message noted it."""
    return span_context_of(sent.get("from")) if isinstance(sent, dict) else None


def attempt_of(request: dict[str, Any], sent: dict[str, Any]) -> int:
    """Return which attempt at its message a delivery is, from 1; a broker that only says "redelivered" adds one."""
    attempt = count(sent["attempt"]) if "attempt" in sent else None
    if not attempt:
        attempt = (count(request.get("retries")) or 0) + 1
    # RabbitMQ's quorum queues count; others say "again" at most
    again = count(request[DELIVERY_COUNT]) if DELIVERY_COUNT in request else None
    if again is None:
        info = request.get("delivery_info")
        again = 1 if isinstance(info, dict) and info.get("redelivered") else 0
    return attempt + again


def count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else None


def span_context_of(value: object) -> SpanContext | None:
    return tracecontext.parse((value,), ()) if isinstance(value, str) else None
