"""One span as OTLP bytes.

Source: opentelemetry-proto, trace/v1/trace.proto; what goes where is taken from the stock encoder.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common._internal import trace_encoder as stock
from opentelemetry.sdk.trace import Event, ReadableSpan, Span
from opentelemetry.sdk.trace import _Span as RecordingSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from handrail_propagation.messagespan import MessageSpan
from handrail_propagation.otlp.values import MAX_LENGTH, Attributes, delimited, text
from handrail_propagation.otlp.wire import Unusual, fields, pack_fixed32, pack_fixed64, varint, varint32

_LAYOUT_KNOWN: Final = tuple(SpanContext(1, 2, True, TraceFlags(1), TraceState()))[:5] == (1, 2, True, 1, {})
"""Whether a span context is the tuple that it is in 1.45: its properties are slow."""
_TYPES: Final = (ReadableSpan, RecordingSpan, Span, MessageSpan) if _LAYOUT_KNOWN else ()
"""Subclasses of others may say something else than what is in their fields."""

KINDS: Final = {kind.value: bytes((0x30, kind.value + 1)) for kind in SpanKind}
_LOCAL: Final = 0x100
_REMOTE: Final = 0x300
STATUS_UNSET: Final = b"\x7a\x00"
SPAN_LOCAL: Final = b"\x85\x01" + pack_fixed32(_LOCAL)
SPAN_REMOTE: Final = b"\x85\x01" + pack_fixed32(_REMOTE)
_LINK_LOCAL: Final = b"\x35" + pack_fixed32(_LOCAL)
_LINK_REMOTE: Final = b"\x35" + pack_fixed32(_REMOTE)

_TRACE_STATE: Final = fields(0x1A)
_NAME: Final = fields(0x2A)
_ATTRIBUTES: Final = Attributes(0x4A)
_EVENT: Final = fields(0x5A)
_EVENT_NAME: Final = fields(0x12)
_EVENT_ATTRIBUTES: Final = Attributes(0x1A)
_LINK: Final = fields(0x6A)
_LINK_ATTRIBUTES: Final = Attributes(0x22)
_STATUS: Final = fields(0x7A)
_STATUS_MESSAGE: Final = fields(0x12)

_MAX_NAMES: Final = 1024
_pack_times = Struct("<BQBQ").pack
_STATUS_CODES: Final = {0: b"", 1: b"\x18\x01", 2: b"\x18\x02"}


def encode_span(span: ReadableSpan) -> bytes:
    """Return an OTLP `Span`, byte for byte what the stock encoder makes of it; end time 0 while it runs.

    Raises what the stock encoder raises.
    """
    try:
        return encode_plain_span(span)
    except Unusual:
        return stock._encode_span(span).SerializePartialToString()


def encode_plain_span(span: ReadableSpan) -> bytes:
    """Return an OTLP `Span`; raises `Unusual` for one that the stock encoder had better look at."""
    if type(span) not in _TYPES:
        raise Unusual
    context, parent = span._context, span._parent
    if type(context) is not SpanContext or type(span._kind) is not SpanKind:
        raise Unusual
    items, events, links = span._attributes, span._events, span._links
    try:
        trace_id, span_id, _, _, state, _ = context
        parts = [b"\n\x10", trace_id.to_bytes(16, "big"), b"\x12\x08", span_id.to_bytes(8, "big")]
        if state:
            parts.append(encode_trace_state(state))
        if parent:
            parts.append(b'"\x08')
            parts.append(parent.span_id.to_bytes(8, "big"))
        parts.append(_names.get(span._name) or encode_name(span._name))
        # Not `.value`: a property of Enum, and slow
        parts.append(KINDS[span._kind._value_])
        start, end = span._start_time, span._end_time
        if start and end:
            parts.append(_pack_times(0x39, start, 0x41, end))
        elif start:
            parts.append(b"9" + pack_fixed64(start))
        elif end:
            parts.append(b"A" + pack_fixed64(end))
        if items:
            parts.append(_ATTRIBUTES.encode(items))
        if type(items) is BoundedAttributes and items.dropped:
            parts.append(b"P" + varint32(items.dropped))
        if events:
            parts += [_event(event) for event in events]
        if type(events) is BoundedList and events.dropped:
            parts.append(b"`" + varint32(events.dropped))
        if links:
            parts += [_link(link) for link in links]
        if type(links) is BoundedList and links.dropped:
            parts.append(b"p" + varint32(links.dropped))
        status = span._status
        if status is None or status._description or status._status_code is not StatusCode.UNSET:
            parts.append(encode_status(status))
        else:
            parts.append(STATUS_UNSET)
        parts.append(SPAN_REMOTE if parent and parent.is_remote else SPAN_LOCAL)
        return b"".join(parts)
    except (AttributeError, TypeError, ValueError, OverflowError, LookupError, StructError) as error:
        raise Unusual from error


_names: dict[str | None, bytes] = {}
_event_names: dict[str | None, bytes] = {}
"""Names seen before, as fields."""


def encode_name(name: Any) -> bytes:
    """Return the field of a span's name."""
    return _remember(_names, name, text(_NAME, name))


def _event_name(name: Any) -> bytes:
    return _remember(_event_names, name, text(_EVENT_NAME, name))


def _remember(names: dict[str | None, bytes], name: Any, field: bytes) -> bytes:
    if type(name) is str and len(name) <= MAX_LENGTH:
        if len(names) >= _MAX_NAMES:
            names.clear()
        names[name] = field
    return field


def encode_trace_state(state: TraceState) -> bytes:
    """Return the field of a span's trace state."""
    return text(_TRACE_STATE, ",".join([f"{key}={value}" for key, value in state.items()]))


def encode_status(status: Status | None) -> bytes:
    """Return the field of a span's status."""
    if status is None:
        return b""
    code = _STATUS_CODES[status._status_code.value]
    if not status._description:
        return b"\x7a" + varint(len(code)) + code
    return delimited(_STATUS, text(_STATUS_MESSAGE, status._description) + code)


def _event(event: Any) -> bytes:
    if type(event) is not Event:
        raise Unusual
    content = b"\x09" + pack_fixed64(event._timestamp) if event._timestamp else b""
    content += _event_names.get(event._name) or _event_name(event._name)
    if items := event._attributes:
        content += _EVENT_ATTRIBUTES.encode(items)
    if type(items) is BoundedAttributes and items.dropped:
        content += b"\x20" + varint32(items.dropped)
    return delimited(_EVENT, content)


def _link(link: Any) -> bytes:
    if type(link) is not Link:
        raise Unusual
    if type(link._context) is not SpanContext:
        raise Unusual
    return encode_link(link._context, link._attributes)


def encode_link(context: SpanContext, items: Any) -> bytes:
    """Return a link to `context` with attributes `items`."""
    trace_id, span_id, remote, *_ = context
    content = b"\n\x10%b\x12\x08%b" % (trace_id.to_bytes(16, "big"), span_id.to_bytes(8, "big"))
    if items:
        content += _LINK_ATTRIBUTES.encode(items)
    if type(items) is BoundedAttributes and items.dropped:
        content += b"\x28" + varint32(items.dropped)
    return delimited(_LINK, content + (_LINK_REMOTE if remote else _LINK_LOCAL))
