"""OTLP/JSON: protobuf's own JSON mapping but for ids, which are hex (OTLP specification, "JSON Protobuf Encoding")."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_ID_KEYS: Final = frozenset({"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"})


def to_json_document(message: ExportTraceServiceRequest | ExportLogsServiceRequest) -> dict[str, Any]:
    """Encode a request as an OTLP/JSON object (hex ids, numeric enums, 64-bit numbers as strings)."""
    document: dict[str, Any] = json_format.MessageToDict(message, use_integers_for_enums=True)
    converted: dict[str, Any] = map_ids(document, lambda text: base64.b64decode(text).hex())
    return converted


def map_ids(node: Any, convert: Callable[[str], str]) -> Any:
    """Return an OTLP/JSON value with each of its ids converted."""
    if isinstance(node, dict):
        return {
            key: convert(value) if key in _ID_KEYS and isinstance(value, str) else map_ids(value, convert)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [map_ids(item, convert) for item in node]
    return node
