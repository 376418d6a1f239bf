"""The spans of messages as OTLP bytes: what a template says is encoded once, not for each span.

Source: opentelemetry-proto, trace/v1/trace.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from types import MappingProxyType
from typing import Any, Final

from celery import states
from opentelemetry.sdk.trace import ReadableSpan

from handrail_propagation import conventions as names
from handrail_propagation.messagespan import FRESH, MessageSpan, SpanTemplate, set_later
from handrail_propagation.otlp import spans
from handrail_propagation.otlp.details import ATTRIBUTES as _ATTRIBUTES
from handrail_propagation.otlp.wire import Unusual

_UNSET: Final = MessageSpan._status
_AT_THE_END: Final = frozenset(
    {names.CELERY_STATE, names.ERROR_TYPE, names.ABANDONED, names.ABANDONED_REASON}
)
"""Attributes that no span of a message starts with."""
_START: Final = b"9"
_END: Final = b"A"
_pack_times: Final = Struct("<cQcQ").pack
_pack_time: Final = Struct("<cQ").pack
_SUCCEEDED: Final = {names.CELERY_STATE: states.SUCCESS}
_SUCCESS: Final = _ATTRIBUTES.encode(_SUCCEEDED)
_FEW: Final = 16
_around: Final[dict[int, tuple[Mapping[str, Any], bytes, bytes]]] = {}
"""Attributes of links to remote parents, by their ids as objects, and what stands around the ids of such a link."""


def encode_plain(span: ReadableSpan) -> bytes:
    """Return an OTLP `Span`, byte for byte the stock encoder's; raises `Unusual` for one that is left to that."""
    if type(span) is not MessageSpan:
        return spans.encode_plain_span(span)
    mine = span.__dict__
    template: SpanTemplate = mine["_template"]
    later: dict[str, Any] | None = mine.get("_later")
    if _is_changed(mine, template) or (later and not template.shared.keys().isdisjoint(later)):
        return spans.encode_plain_span(span)
    return _encode(mine, template, later)


def encode_start(span: MessageSpan) -> bytes:
    """Return an OTLP `Span` without its end, and keep the bytes for `encode_end`; raises as `encode_plain`."""
    mine = span.__dict__
    if len(mine) != FRESH:
        return encode_plain(span)
    encoded = mine["_started"] = _encode(mine, mine["_template"], None)
    return encoded


def encode_end(span: MessageSpan) -> bytes:
    """Return an OTLP `Span` that has ended: where it can be, the bytes of its start and what has come since.

    The fields are then in another order than the stock encoder's, and the status may come twice, of which the last
    one counts (protobuf.dev, "Encoding").
    """
    mine = span.__dict__
    started: bytes | None = mine.get("_started")
    if started is None or _is_changed(mine, mine["_template"]):
        return encode_plain(span)
    end = started + _pack_time(_END, mine.get("_end_time") or 0)
    later: dict[str, Any] | None = mine.get("_later")
    if later == _SUCCEEDED:
        end += _SUCCESS
    elif later:
        if not _AT_THE_END.issuperset(later):
            return encode_plain(span)
        end += _ATTRIBUTES.encode(later)
    status = mine.get("_status", _UNSET)
    return end if status is _UNSET else end + spans.encode_status(status)


def _is_changed(mine: dict[str, Any], template: SpanTemplate) -> bool:
    """Whether a span has fields that it only has when somebody has looked at them, or changed them."""
    return (
        "_attributes" in mine
        or "_events" in mine
        or "_links" in mine
        or ("_name" in mine and mine["_name"] != template.name)
    )


def _encode(mine: dict[str, Any], template: SpanTemplate, later: Mapping[str, Any] | None) -> bytes:
    """Return a span out of its fields, which are looked up here: an attribute of a class with `__getattr__` is slow."""
    details = mine["_details"]
    try:
        own = None if later else template.encode(details)
    except UnicodeEncodeError:
        raise Unusual from None
    if own is None:
        attributes = template.expand(details)
        if later:
            set_later(attributes, later)
        own = (_ATTRIBUTES.encode(attributes),)
    head, shared = template.encoded or _encoded(template)
    trace_id, span_id, _, _, state, _ = mine["_context"]  # its properties are slow
    trace = trace_id.to_bytes(16, "big")
    parts = [b"\n\x10", trace, b"\x12\x08", span_id.to_bytes(8, "big")]
    append = parts.append
    if state is not spans.NO_STATE and state:
        append(spans.encode_trace_state(state))
    flags = spans.SPAN_LOCAL
    if (parent := mine["_parent"]) is not None:
        _, number, is_remote, _, _, _ = parent
        parent_id = number.to_bytes(8, "big")
        append(b'"\x08')
        append(parent_id)
        if is_remote:
            flags = spans.SPAN_REMOTE
    start, end = mine["_start_time"], mine.get("_end_time")
    append(head)
    append(_pack_times(_START, start, _END, end) if end else _pack_time(_START, start))
    append(shared)
    parts += own
    for link in mine["_given"]:
        # As the first one nearly always is: its ids are encoded already
        if link[0] is parent and flags is spans.SPAN_REMOTE:
            _, before, behind = _around.get(id(link[1])) or _around_link(link[1])
            parts += before, trace, b"\x12\x08", parent_id, behind
        else:
            append(spans.encode_link(*link))
    status = mine.get("_status", _UNSET)
    append(spans.STATUS_UNSET if status is _UNSET else spans.encode_status(status))
    append(flags)
    return b"".join(parts)


def _encoded(template: SpanTemplate) -> tuple[bytes, bytes]:
    head = spans.encode_name(template.name) + spans.KINDS[template.kind.value]
    template.encoded = head, _ATTRIBUTES.encode(dict(template.shared))
    return template.encoded


def _around_link(items: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes, bytes]:
    made = items, *spans.around_link(True, items)
    if type(items) is MappingProxyType and len(_around) < _FEW:  # as all of ours, which stay as they are
        _around[id(items)] = made  # with the object, so that no other one gets its id
    return made
