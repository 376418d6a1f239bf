"""The spans of messages as OTLP bytes: what a template says is encoded once, not for each span.

Source: opentelemetry-proto, trace/v1/trace.proto.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from handrail_propagation import conventions as names
from handrail_propagation.messagespan import MessageSpan, SpanTemplate, set_later
from handrail_propagation.otlp import spans
from handrail_propagation.otlp.values import Attributes
from handrail_propagation.otlp.wire import pack_fixed64

_ATTRIBUTES: Final = Attributes(0x4A)
_UNSET: Final = MessageSpan._status
_CHANGED: Final = frozenset({"_attributes", "_events", "_links"})
"""Fields that a span only has when somebody has looked at them, or changed them."""
_AT_THE_END: Final = frozenset(
    {names.CELERY_STATE, names.ERROR_TYPE, names.ABANDONED, names.ABANDONED_REASON}
)
"""Attributes that no span of a message starts with."""
_START: Final = b"9"
_END: Final = b"A"
_pack_times: Final = Struct("<cQcQ").pack


def encode_plain(span: ReadableSpan) -> bytes:
    """Return an OTLP `Span`, byte for byte the stock encoder's; raises `Unusual` for one that is left to that."""
    if type(span) is not MessageSpan:
        return spans.encode_plain_span(span)
    mine = span.__dict__
    template: SpanTemplate = span._template
    later: dict[str, Any] | None = mine.get("_later")
    if _is_changed(mine, template) or (later and not template.shared.keys().isdisjoint(later)):
        return spans.encode_plain_span(span)
    attributes = template.expand(span._details)
    set_later(attributes, later)
    head, shared = template.encoded or _encoded(template)
    start, end, parent = span._start_time, span._end_time, span._parent
    return b"".join(
        (
            _ids(span._context, parent),
            head,
            _pack_times(_START, start, _END, end) if end else _START + pack_fixed64(start),
            shared,
            _ATTRIBUTES.encode(attributes),
            *[spans.encode_link(*link) for link in span._given],
            spans.STATUS_UNSET if span._status is _UNSET else spans.encode_status(span._status),
            spans.SPAN_REMOTE if parent and parent.is_remote else spans.SPAN_LOCAL,
        )
    )


def encode_start(span: MessageSpan) -> bytes:
    """Return an OTLP `Span` without its end, and keep the bytes for `encode_end`; raises as `encode_plain`."""
    encoded = encode_plain(span)
    if not _is_changed(span.__dict__, span._template):
        span._started = encoded
    return encoded


def encode_end(span: MessageSpan) -> bytes:
    """Return an OTLP `Span` that has ended: where it can be, the bytes of its start and what has come since.

    The fields are then in another order than the stock encoder's, and the status may come twice, of which the last
    one counts (protobuf.dev, "Encoding").
    """
    mine = span.__dict__
    started: bytes | None = mine.get("_started")
    later: dict[str, Any] = mine.get("_later", {})
    if started is None or _is_changed(mine, span._template) or not _AT_THE_END.issuperset(later):
        return encode_plain(span)
    encoded = started + _END + pack_fixed64(span._end_time or 0) + _ATTRIBUTES.encode(later)
    return encoded if span._status is _UNSET else encoded + spans.encode_status(span._status)


def _is_changed(mine: dict[str, Any], template: SpanTemplate) -> bool:
    return not _CHANGED.isdisjoint(mine) or mine.get("_name", template.name) != template.name


def _ids(context: Any, parent: SpanContext | None) -> bytes:
    trace_id, span_id, _, _, state, _ = context  # its properties are slow
    encoded = b"\n\x10%b\x12\x08%b" % (trace_id.to_bytes(16, "big"), span_id.to_bytes(8, "big"))
    if state:
        encoded += spans.encode_trace_state(state)
    return encoded + b'"\x08' + parent.span_id.to_bytes(8, "big") if parent else encoded


def _encoded(template: SpanTemplate) -> tuple[bytes, bytes]:
    head = spans.encode_name(template.name) + spans.KINDS[template.kind.value]
    template.encoded = head, _ATTRIBUTES.encode(dict(template.shared))
    return template.encoded
