"""One log record as OTLP bytes.

Source: opentelemetry-proto, logs/v1/logs.proto; what goes where is taken from the stock encoder.
"""

from __future__ import annotations

from struct import error as StructError
from typing import Final, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common._internal import _log_encoder as stock
from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord

from handrail_propagation.otlp.values import Attributes, any_value, delimited, text
from handrail_propagation.otlp.wire import Unusual, fields, pack_fixed32, pack_fixed64, varint, varint32

_SEVERITY_TEXT: Final = fields(0x1A)
_BODY: Final = fields(0x2A)
_ATTRIBUTES: Final = Attributes(0x32)
_EVENT_NAME: Final = fields(0x62)


def encode_log(record: ReadableLogRecord | ReadWriteLogRecord) -> bytes:
    """Return an OTLP `LogRecord`, byte for byte what the stock encoder makes of it; raises what it raises."""
    try:
        return encode_plain_log(record)
    except Unusual:
        # The SDK's own processors hand the one on as the other, too
        return stock._encode_log(cast(ReadableLogRecord, record)).SerializePartialToString()


def encode_plain_log(record: ReadableLogRecord | ReadWriteLogRecord) -> bytes:
    """Return an OTLP `LogRecord`; raises `Unusual` for one that the stock encoder had better look at."""
    if type(record) not in (ReadableLogRecord, ReadWriteLogRecord):
        raise Unusual
    log = record.log_record
    try:
        parts = [b"\x09" + pack_fixed64(log.timestamp)] if log.timestamp else []
        if severity := getattr(log.severity_number, "value", None):
            parts.append(b"\x10" + varint(_known(severity)))
        parts.append(text(_SEVERITY_TEXT, log.severity_text))
        parts.append(delimited(_BODY, any_value(log.body)))
        if items := log.attributes:
            parts.append(_ATTRIBUTES.encode(items))
            if type(items) is BoundedAttributes and items.dropped:
                parts.append(b"\x38" + varint32(items.dropped))
        elif record.dropped_attributes:
            parts.append(b"\x38" + varint32(record.dropped_attributes))
        if flags := int(log.trace_flags):
            parts.append(b"E" + pack_fixed32(flags))
        if log.trace_id != 0:
            parts.append(b"J\x10" + log.trace_id.to_bytes(16, "big"))
        if log.span_id != 0:
            parts.append(b"R\x08" + log.span_id.to_bytes(8, "big"))
        if log.observed_timestamp:
            parts.append(b"Y" + pack_fixed64(log.observed_timestamp))
        parts.append(text(_EVENT_NAME, log.event_name))
        return b"".join(parts)
    except (AttributeError, TypeError, ValueError, OverflowError, StructError) as error:
        raise Unusual from error


def _known(severity: object) -> int:
    if type(severity) is not int or not 0 < severity < 25:
        raise Unusual
    return severity
