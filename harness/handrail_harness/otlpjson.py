"""Spans and events as OTLP-JSON lines, the format that `sources.otlpfile` reads back, span for span the same."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from handrail_harness.spans import Attributes, AttributeValue, LogEvent, Span, SpanKind, StatusCode

_KINDS: dict[str, int] = {kind: number for number, kind in enumerate(get_args(SpanKind))}
_STATUS: dict[str, int] = {code: number for number, code in enumerate(get_args(StatusCode))}


def write_otlp_json(path: Path, spans: Sequence[Span], events: Sequence[LogEvent] = ()) -> None:
    """Write a file with one line of spans and, where there are some, one of events; replaces what was there.

    Readable by its owner only: attributes of spans are somebody's data. Raises `OSError`.
    """
    documents: list[dict[str, Any]] = [{"resourceSpans": _resource_spans(spans)}]
    if events:
        documents.append({"resourceLogs": _resource_logs(events)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        for document in documents:
            file.write(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")


def _resource_spans(spans: Iterable[Span]) -> list[dict[str, Any]]:
    groups: dict[str, tuple[Attributes, str, list[dict[str, Any]]]] = {}
    for span in spans:
        key = json.dumps([_attributes(span.resource), span.scope_name])
        groups.setdefault(key, (span.resource, span.scope_name, []))[2].append(_span(span))
    return [
        {
            "resource": {"attributes": _attributes(resource)},
            "scopeSpans": [{"scope": {"name": scope}, "spans": same}],
        }
        for resource, scope, same in groups.values()
    ]


def _resource_logs(events: Iterable[LogEvent]) -> list[dict[str, Any]]:
    groups: dict[str, tuple[Attributes, list[dict[str, Any]]]] = {}
    for event in events:
        key = json.dumps(_attributes(event.resource))
        groups.setdefault(key, (event.resource, []))[1].append(
            {
                "timeUnixNano": str(event.time_unix_nano),
                "eventName": event.event_name,
                "traceId": event.trace_id,
                "spanId": event.span_id,
                "attributes": _attributes(event.attributes),
            }
        )
    return [
        {"resource": {"attributes": _attributes(resource)}, "scopeLogs": [{"scope": {}, "logRecords": same}]}
        for resource, same in groups.values()
    ]


def _span(span: Span) -> dict[str, Any]:
    document: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": _KINDS[span.kind],
        "startTimeUnixNano": str(span.start_unix_nano),
        "endTimeUnixNano": str(span.end_unix_nano),
        "attributes": _attributes(span.attributes),
        "flags": span.flags,
    }
    if span.parent_span_id:
        document["parentSpanId"] = span.parent_span_id
    if span.trace_state:
        document["traceState"] = span.trace_state
    if span.links:
        document["links"] = [
            {"traceId": link.trace_id, "spanId": link.span_id, "attributes": _attributes(link.attributes)}
            for link in span.links
        ]
    if span.events:
        document["events"] = [
            {
                "name": event.name,
                "timeUnixNano": str(event.time_unix_nano),
                "attributes": _attributes(event.attributes),
            }
            for event in span.events
        ]
    if span.status_code != "unset" or span.status_message:
        document["status"] = {"code": _STATUS[span.status_code], "message": span.status_message}
    return document


def _attributes(attributes: Mapping[str, AttributeValue]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: AttributeValue) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if value == value and abs(value) != float("inf") else _named(value)}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode("ascii")}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"kvlistValue": {"values": _attributes(value)}}


def _named(value: float) -> str:
    """Return what protobuf's JSON mapping writes for numbers that JSON has no form for."""
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
