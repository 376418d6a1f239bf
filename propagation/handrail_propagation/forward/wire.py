"""Export requests out of records: OTLP bytes that stand in the spool are joined, never decoded.

Protobuf lets a repeated field go on behind what was written before, and the last one of a scalar field counts
(protobuf.dev, "Encoding"): an id, an end or a status is added to a span by appending it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from handrail_propagation import conventions as names
from handrail_propagation.otlp.wire import TABLE_SIZE, fields, pack_fixed64, varint

_ITEM: Final = fields(0x12)
_KEY: Final = b"\x0a" + varint(len(names.RECORD_ID)) + names.RECORD_ID.encode()
_SPAN_ATTRIBUTE: Final = b"\x4a"
_LOG_ATTRIBUTE: Final = b"\x32"
_SPAN_END: Final = b"\x41"
_STATUS_ERROR: Final = b"\x7a\x02\x18\x02"


class Signal(IntEnum):
    """What an export request carries; the numbers index a destination's endpoints."""

    TRACES = 0
    LOGS = 1


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Resource and scope, split so that items go in between: the same bytes for spans and for log records."""

    resource: bytes
    """What stands before the scope's message."""
    scope: bytes
    """What stands in the scope's message before its items, and behind them."""
    scope_end: bytes
    end: bytes
    payload: bytes
    """The origin record's."""

    @classmethod
    def parse(cls, payload: bytes) -> Origin:
        """Split an origin record's payload; one that is no OTLP becomes an origin without a resource."""
        try:
            spans = ResourceSpans.FromString(payload)
        except DecodeError:
            spans = ResourceSpans()
        scope = spans.scope_spans[0] if spans.scope_spans else None
        return cls(
            _field(0x0A, spans.resource.SerializeToString()) if spans.HasField("resource") else b"",
            _field(0x0A, scope.scope.SerializeToString()) if scope and scope.HasField("scope") else b"",
            _field(0x1A, scope.schema_url.encode()) if scope and scope.schema_url else b"",
            _field(0x1A, spans.schema_url.encode()) if spans.schema_url else b"",
            payload,
        )


Item: TypeAlias = tuple[Origin, bytes, int, int, int, int]
"""One span or log record on its way, and the record that it comes from.

Origin; content, a field of the scope's message (tag, length, OTLP bytes); writer, index of the record's segment, where
the record ends in its segment, its number. Not a named tuple, which takes six times as long to make.
"""


class Labels:
    """Attribute fields with record ids, for one writer."""

    def __init__(self, writer: int) -> None:
        self._prefix = f"{writer:016x}-".encode()
        self._of_span: dict[int, bytes] = {}
        self._of_log: dict[int, bytes] = {}
        """Length of a record id → what stands before it."""

    def span(self, payload: bytes, sequence: int) -> bytes:
        """Return a span with its record's id, as a field of `ScopeSpans`."""
        text = b"%b%d" % (self._prefix, sequence)
        head = self._of_span.get(len(text)) or _head(self._of_span, _SPAN_ATTRIBUTE, len(text))
        return _item(payload, head, text)

    def log(self, payload: bytes, sequence: int) -> bytes:
        """Return a log record with its record's id, as a field of `ScopeLogs`."""
        text = b"%b%d" % (self._prefix, sequence)
        head = self._of_log.get(len(text)) or _head(self._of_log, _LOG_ATTRIBUTE, len(text))
        return _item(payload, head, text)


def _head(known: dict[int, bytes], tag: bytes, length: int) -> bytes:
    value = b"\x0a" + varint(length)
    pair = _KEY + b"\x12" + varint(len(value) + length) + value
    head = known[length] = tag + varint(len(pair) + length) + pair
    return head


def _item(payload: bytes, head: bytes, text: bytes) -> bytes:
    size = len(payload) + len(head) + len(text)
    return b"".join((_ITEM[size] if size < TABLE_SIZE else b"\x12" + varint(size), payload, head, text))


def encode(items: Sequence[Item]) -> bytes:
    """Return an export request of items of one signal, neighbours in order, grouped by origin."""
    groups: dict[int, list[bytes]] = {}
    origins: dict[int, Origin] = {}
    last: Origin | None = None
    group: list[bytes] = []
    for item in items:
        if item[0] is not last:
            last = item[0]
            key = id(last)
            group = groups.setdefault(key, [])
            origins[key] = last
        group.append(item[1])
    pieces: list[bytes] = []
    for key, contents in groups.items():
        origin = origins[key]
        size = len(origin.scope) + sum(map(len, contents)) + len(origin.scope_end)
        length = b"\x12" + varint(size)
        outer = len(origin.resource) + len(length) + size + len(origin.end)
        pieces += (b"\x0a" + varint(outer), origin.resource, length, origin.scope)
        pieces += contents
        pieces += (origin.scope_end, origin.end)
    return b"".join(pieces)


def key_of(span: bytes) -> bytes:
    """Return trace id and span id of an encoded span, which are its first two fields."""
    if span.startswith(b"\x0a\x10") and span[18:20] == b"\x12\x08":
        return span[2:28]
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    try:
        parsed = Span.FromString(span)
    except DecodeError:
        return b""
    return parsed.trace_id + b"\x12\x08" + parsed.span_id


def closed(start: bytes, end: int, reason: str) -> bytes:
    """Return the span that was only started, as one whose process is gone; `end` in nanoseconds since 1970."""
    return b"".join(
        (
            start,
            _SPAN_END + pack_fixed64(end),
            _text(names.ERROR_TYPE, names.ERROR_WORKER_LOST),
            _true(names.ABANDONED),
            _text(names.ABANDONED_REASON, reason) if reason else b"",
            _STATUS_ERROR,
        )
    )


def _field(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + varint(len(content)) + content


def _attribute(key: str, value: bytes) -> bytes:
    return _field(0x4A, _field(0x0A, key.encode()) + _field(0x12, value))


def _text(key: str, value: str) -> bytes:
    return _attribute(key, _field(0x0A, value.encode()))


def _true(key: str) -> bytes:
    return _attribute(key, b"\x10\x01")
