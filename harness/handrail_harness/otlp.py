"""OTLP on the wire ↔ the read model: protobuf and JSON requests in, `Span` and `LogEvent` values out.

OTLP/JSON differs from protobuf's own JSON mapping in one thing: ids are hex instead of base64 (OTLP specification,
"JSON Protobuf Encoding").
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from sys import intern
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from handrail_harness.attributes import SHORT
from handrail_harness.spans import AttributeValue, Link, LogEvent, Span, SpanEvent, SpanKind, StatusCode
from handrail_propagation.otlp.json import map_ids

Request = TypeVar("Request", ExportTraceServiceRequest, ExportLogsServiceRequest, ExportMetricsServiceRequest)

_KINDS: tuple[SpanKind, ...] = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS: tuple[StatusCode, ...] = ("unset", "ok", "error")


class MalformedOTLP(ValueError):
    """The bytes are not an OTLP request."""


def parse_protobuf(body: bytes, request: type[Request]) -> Request:
    """Decode an OTLP/protobuf request body; raises `MalformedOTLP`."""
    message = request()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise MalformedOTLP(f"not an OTLP {request.__name__}: {error}") from error
    return message


def parse_json(body: bytes | str, request: type[Request]) -> Request:
    """Decode an OTLP/JSON request body (hex ids); raises `MalformedOTLP`."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedOTLP(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise MalformedOTLP(f"an OTLP {request.__name__} is a JSON object, not {type(document).__name__}")
    return from_json_document(document, request)


def from_json_document(document: dict[str, Any], request: type[Request]) -> Request:
    """Decode an already parsed OTLP/JSON object; raises `MalformedOTLP`."""
    try:
        return json_format.ParseDict(_ids_to_base64(document), request(), ignore_unknown_fields=True)
    except (
        *(json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError),
        SystemError,  # protobuf 7 on half of a surrogate pair where an object belongs
    ) as error:
        raise MalformedOTLP(f"not an OTLP {request.__name__}: {error}") from error


def spans_of(request: ExportTraceServiceRequest) -> Iterator[Span]:
    """Yield every span of a trace request in its order on the wire, duplicates included."""
    for resource_spans in request.resource_spans:
        resource = attributes_of(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for wire in scope_spans.spans:
                yield span_of(wire, resource, scope_spans.scope.name)


def span_of(wire: WireSpan, resource: dict[str, AttributeValue], scope_name: str) -> Span:
    """Return one wire span as a `Span`."""
    status = wire.status
    code = status.code
    return Span(
        trace_id=shared(wire.trace_id.hex()),
        span_id=wire.span_id.hex(),
        parent_span_id=wire.parent_span_id.hex(),
        name=shared(wire.name),
        kind=_KINDS[wire.kind] if 0 <= wire.kind < len(_KINDS) else "unspecified",
        start_unix_nano=wire.start_time_unix_nano,
        end_unix_nano=wire.end_time_unix_nano,
        attributes=attributes_of(wire.attributes),
        links=tuple(map(_link, wire.links)),
        events=tuple(map(_event, wire.events)),
        status_code=_STATUS[code] if 0 <= code < len(_STATUS) else "unset",
        status_message=status.message,
        trace_state=wire.trace_state,
        flags=wire.flags,
        resource=resource,
        scope_name=scope_name,
    )


def _link(wire: WireSpan.Link) -> Link:
    return Link(wire.trace_id.hex(), wire.span_id.hex(), attributes_of(wire.attributes))


def _event(wire: WireSpan.Event) -> SpanEvent:
    return SpanEvent(wire.name, wire.time_unix_nano, attributes_of(wire.attributes))


def events_of(request: ExportLogsServiceRequest) -> Iterator[LogEvent]:
    """Yield the log-based events (records with an event name) of a logs request."""
    for resource_logs in request.resource_logs:
        resource = attributes_of(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                if record.event_name:
                    yield LogEvent(
                        trace_id=record.trace_id.hex(),
                        span_id=record.span_id.hex(),
                        event_name=record.event_name,
                        time_unix_nano=record.time_unix_nano or record.observed_time_unix_nano,
                        attributes=attributes_of(record.attributes),
                        resource=resource,
                    )


def attributes_of(pairs: Sequence[KeyValue]) -> dict[str, AttributeValue]:
    """Return OTLP key-value pairs as a dictionary; of a repeated key the last value counts."""
    found: dict[str, AttributeValue] = {}
    for pair in pairs:
        value = pair.value
        which = value.WhichOneof("value")
        # Most are strings: read here, not in a function of their own.
        found[shared(pair.key)] = (
            shared(value.string_value) if which == "string_value" else _value(value, which)
        )
    return found


def shared(text: str) -> str:
    """Return the text as the one object that stands for it, where it is short enough to occur again.

    One object for all of them halves the memory of a long run, and makes comparing them cheap.
    """
    return intern(text) if len(text) <= SHORT else text


def _value(value: AnyValue, which: str | None) -> AttributeValue:
    if which == "string_value":
        return shared(value.string_value)
    if which is None:
        return None
    if which == "array_value":
        return [_value(item, item.WhichOneof("value")) for item in value.array_value.values]
    if which == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    scalar: str | bool | int | float | bytes = getattr(value, which)
    return scalar


def _ids_to_base64(document: Any) -> Any:
    return map_ids(document, lambda text: base64.b64encode(bytes.fromhex(text)).decode("ascii"))
