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
from handrail_propagation.otlp.wire import (
    TABLE_SIZE,
    Unusual,
    fields,
    pack_fixed32,
    pack_fixed64,
    varint,
    varint32,
)

_LAYOUT_KNOWN: Final = tuple(SpanContext(1, 2, True, TraceFlags(1), TraceState()))[:5] == (1, 2, True, 1, {})
"""Whether a span context is the tuple that it is in 1.45: its properties are slow."""
_TYPES: Final = (ReadableSpan, RecordingSpan, Span, MessageSpan) if _LAYOUT_KNOWN else ()
"""Subclasses of others may say something else than what is in their fields."""

KINDS: Final = {kind.value: bytes((0x30, kind.value + 1)) for kind in SpanKind}
NO_STATE: Final = SpanContext(1, 2, False).trace_state
"""What all contexts without a trace state have; to ask a state whether it is empty is slow."""
_UNSET: Final = StatusCode.UNSET  # not each time: a look at an Enum's member is slow
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
_LINK: Final = [start + b"\n\x10" for start in fields(0x6A)]
"""What stands before a link's trace id."""
_LINK_SIZE: Final = 18 + 10 + 5  # ids and flags
_LINK_ATTRIBUTES: Final = Attributes(0x22)
_STATUS: Final = fields(0x7A)
_STATUS_MESSAGE: Final = fields(0x12)

_BOUNDED: Final[Any] = BoundedList  # its stub does not have its fields
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
    items = span._attributes
    events: Any = span._events
    links: Any = span._links
    try:
        trace_id, span_id, _, _, state, _ = context  # its properties are slow
        parts = [b"\n\x10", trace_id.to_bytes(16, "big"), b"\x12\x08", span_id.to_bytes(8, "big")]
        append = parts.append
        if state is not NO_STATE and state:
            append(encode_trace_state(state))
        flags = SPAN_LOCAL
        if parent:
            if type(parent) is not SpanContext:
                raise Unusual
            _, parent_id, is_remote, _, _, _ = parent
            append(b'"\x08')
            append(parent_id.to_bytes(8, "big"))
            if is_remote:
                flags = SPAN_REMOTE
        append(_names.get(span._name) or encode_name(span._name))
        # Not `.value`: a property of Enum, and slow
        append(KINDS[span._kind._value_])
        start, end = span._start_time, span._end_time
        if start and end:
            append(_pack_times(0x39, start, 0x41, end))
        elif start:
            append(b"9" + pack_fixed64(start))
        elif end:
            append(b"A" + pack_fixed64(end))
        if type(items) is BoundedAttributes:
            if items._dict:
                append(_ATTRIBUTES.encode(items))
            if items.dropped:
                append(b"P" + varint32(items.dropped))
        elif items:
            append(_ATTRIBUTES.encode(items))
        if type(events) is _BOUNDED:
            if events._dq:
                parts += [_event(event) for event in tuple(events._dq)]
            if events.dropped:
                append(b"`" + varint32(events.dropped))
        elif events:
            parts += [_event(event) for event in events]
        if type(links) is _BOUNDED:
            if links._dq:
                parts += [_link(link) for link in tuple(links._dq)]
            if links.dropped:
                append(b"p" + varint32(links.dropped))
        elif links:
            parts += [_link(link) for link in links]
        status = span._status
        if status is None or status._description or status._status_code is not _UNSET:
            append(encode_status(status))
        else:
            append(STATUS_UNSET)
        append(flags)
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
    code = _STATUS_CODES[status._status_code._value_]
    if not status._description:
        return b"\x7a" + varint(len(code)) + code
    return delimited(_STATUS, text(_STATUS_MESSAGE, status._description) + code)


def _event(event: Any) -> bytes:
    if type(event) is not Event:
        raise Unusual
    content = b"\x09" + pack_fixed64(event._timestamp) if event._timestamp else b""
    content += _event_names.get(event._name) or _event_name(event._name)
    items = event._attributes
    if type(items) is BoundedAttributes:
        if items._dict:
            content += _EVENT_ATTRIBUTES.encode(items)
        if items.dropped:
            content += b"\x20" + varint32(items.dropped)
    elif items:
        content += _EVENT_ATTRIBUTES.encode(items)
    return delimited(_EVENT, content)


def _link(link: Any) -> bytes:
    if type(link) is not Link or type(link._context) is not SpanContext:
        raise Unusual
    return encode_link(link._context, link._attributes)


def encode_link(context: SpanContext, items: Any) -> bytes:
    """Return a link to `context` with attributes `items`."""
    trace_id, span_id, remote, _, _, _ = context
    head, tail = around_link(remote, items)
    return b"".join((head, trace_id.to_bytes(16, "big"), b"\x12\x08", span_id.to_bytes(8, "big"), tail))


def around_link(is_remote: bool, items: Any) -> tuple[bytes, bytes]:
    """Return what stands before and behind the ids of a link with attributes `items`."""
    extra = b""
    if type(items) is BoundedAttributes:
        if items._dict:
            extra = _LINK_ATTRIBUTES.encode(items)
        if items.dropped:
            extra += b"\x28" + varint32(items.dropped)
    elif items:
        extra = _LINK_ATTRIBUTES.encode(items)
    size = _LINK_SIZE + len(extra)
    head = _LINK[size] if size < TABLE_SIZE else b"\x6a" + varint(size) + b"\n\x10"
    return head, extra + (_LINK_REMOTE if is_remote else _LINK_LOCAL)
