"""Spans straight out of OTLP/JSON, where it is spelled as exporters spell it; everything else goes by way of protobuf.

Protobuf's own JSON parser is what says what OTLP/JSON means, and takes ten times as long. What is read without it is
only what can mean one thing: names in lowerCamelCase, numeric enums, values of the expected types, nothing unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness.otlp import from_json_document, shared, spans_of
from handrail_harness.spans import AttributeValue, Link, Span, SpanEvent, SpanKind, StatusCode

_KINDS: Final[tuple[SpanKind, ...]] = get_args(SpanKind)
_STATUS: Final[tuple[StatusCode, ...]] = get_args(StatusCode)
_COUNTS: Final = ("droppedAttributesCount", "droppedEventsCount", "droppedLinksCount")
_GROUP: Final = frozenset({"resource", "scopeSpans", "schemaUrl"})
_SCOPED: Final = frozenset({"scope", "spans", "schemaUrl"})
_RESOURCE: Final = frozenset({"attributes", *_COUNTS[:1]})
_SCOPE: Final = frozenset({"name", "version", "attributes", *_COUNTS[:1]})
_LINK: Final = frozenset({"traceId", "spanId", "traceState", "attributes", "flags", *_COUNTS[:1]})
_EVENT: Final = frozenset({"timeUnixNano", "name", "attributes", *_COUNTS[:1]})
_STATUS_KEYS: Final = frozenset({"code", "message"})
_SPAN: Final = frozenset(
    {
        *("traceId", "spanId", "parentSpanId", "traceState", "flags", "name", "kind", "attributes", "events"),
        *("startTimeUnixNano", "endTimeUnixNano", "links", "status", *_COUNTS),
    }
)
_DEPTH_MAX: Final = 16  # of arrays and maps in one another; protobuf refuses what is nested too deeply


class _Unusual(Exception):
    """Something is spelled in another way than exporters have it."""


def spans_of_document(document: Mapping[str, Any]) -> list[Span]:
    """Return every span of an OTLP/JSON traces request, parsed from JSON; raises `MalformedOTLP`."""
    try:
        return _spans(document)
    except (_Unusual, ValueError):  # ValueError: no hex digits, or text that is not Unicode
        return list(spans_of(from_json_document(dict(document), ExportTraceServiceRequest)))


def _spans(document: Mapping[str, Any]) -> list[Span]:
    if document.keys() != {"resourceSpans"}:
        raise _Unusual
    found: list[Span] = []
    for group in _list(document, "resourceSpans"):
        _only(group, _GROUP)
        _text(group, "schemaUrl")
        described = _dict(group, "resource", _RESOURCE)
        resource = _attributes(described)
        for scoped in _list(group, "scopeSpans"):
            _only(scoped, _SCOPED)
            _text(scoped, "schemaUrl")
            scope = _dict(scoped, "scope", _SCOPE)
            _text(scope, "version")
            _attributes(scope)
            name = _text(scope, "name")
            found += [_span(span, resource, name) for span in _list(scoped, "spans")]
    return found


def _span(span: Any, resource: dict[str, AttributeValue], scope_name: str) -> Span:
    _only(span, _SPAN)
    status = _dict(span, "status", _STATUS_KEYS) if "status" in span else {}
    return Span(
        trace_id=shared(_id(span, "traceId")),
        span_id=_id(span, "spanId"),
        parent_span_id=_id(span, "parentSpanId"),
        name=_text(span, "name"),
        kind=_KINDS[_number(span, "kind", len(_KINDS) - 1)],
        start_unix_nano=_time(span, "startTimeUnixNano"),
        end_unix_nano=_time(span, "endTimeUnixNano"),
        attributes=_attributes(span),
        links=tuple(map(_link, _list(span, "links"))) if "links" in span else (),
        events=tuple(map(_event, _list(span, "events"))) if "events" in span else (),
        status_code=_STATUS[_number(status, "code", len(_STATUS) - 1)],
        status_message=_text(status, "message"),
        trace_state=_text(span, "traceState"),
        flags=_number(span, "flags"),
        resource=resource,
        scope_name=scope_name,
    )


def _link(link: Any) -> Link:
    _only(link, _LINK)
    _text(link, "traceState")
    _number(link, "flags")
    return Link(shared(_id(link, "traceId")), _id(link, "spanId"), _attributes(link))


def _event(event: Any) -> SpanEvent:
    _only(event, _EVENT)
    return SpanEvent(_text(event, "name"), _time(event, "timeUnixNano"), _attributes(event))


def _attributes(owner: dict[str, Any]) -> dict[str, AttributeValue]:
    for count in _COUNTS:
        if count in owner:
            _number(owner, count)
    return _pairs(owner.get("attributes", []), 0)


def _pairs(pairs: Any, depth: int) -> dict[str, AttributeValue]:
    if type(pairs) is not list:
        raise _Unusual
    found: dict[str, AttributeValue] = {}
    for pair in pairs:
        if type(pair) is not dict or len(pair) != 2:
            raise _Unusual
        found[_text(pair, "key")] = _value(pair.get("value"), depth)
    return found


def _value(value: Any, depth: int) -> AttributeValue:
    if type(value) is not dict or len(value) != 1 or depth > _DEPTH_MAX:
        raise _Unusual
    ((kind, content),) = value.items()
    if kind == "stringValue" and type(content) is str:
        return _unicode(content)
    if kind == "intValue":
        return _int64(content)
    if kind == "boolValue" and type(content) is bool:
        return content
    if kind == "doubleValue" and type(content) is float and abs(content) <= 1e308:  # neither infinite nor NaN
        return content
    if kind == "arrayValue" and type(content) is dict and content.keys() == {"values"}:
        return [_value(one, depth + 1) for one in _list(content, "values")]
    if kind == "kvlistValue" and type(content) is dict and content.keys() == {"values"}:
        return _pairs(content["values"], depth + 1)
    raise _Unusual


def _int64(content: Any) -> int:
    if type(content) is str and content.isascii() and content.removeprefix("-").isdecimal():
        content = int(content) if len(content) <= 20 else None
    if type(content) is not int or not -(2**63) <= content < 2**63:
        raise _Unusual
    return content


def _time(owner: dict[str, Any], key: str) -> int:
    content = owner.get(key, 0)
    if type(content) is str and content.isascii() and content.isdecimal() and len(content) <= 20:
        content = int(content)
    if type(content) is not int or not 0 <= content < 2**64:
        raise _Unusual
    return content


def _number(owner: dict[str, Any], key: str, most: int = 2**32 - 1) -> int:
    content = owner.get(key, 0)
    if type(content) is not int or not 0 <= content <= most:
        raise _Unusual
    return content


def _id(owner: dict[str, Any], key: str) -> str:
    content = owner.get(key, "")
    if type(content) is not str:
        raise _Unusual
    return bytes.fromhex(content).hex()


def _text(owner: dict[str, Any], key: str) -> str:
    content = owner.get(key, "")
    if type(content) is not str:
        raise _Unusual
    return _unicode(content)


def _unicode(text: str) -> str:
    if not text.isascii():
        text.encode()  # JSON may hold half of a surrogate pair, protobuf's strings may not
    return shared(text)


def _list(owner: dict[str, Any] | Mapping[str, Any], key: str) -> list[Any]:
    content = owner.get(key, [])
    if type(content) is not list:
        raise _Unusual
    return content


def _dict(owner: dict[str, Any], key: str, known: frozenset[str]) -> dict[str, Any]:
    content = owner.get(key, {})
    _only(content, known)
    return content  # type: ignore[no-any-return]


def _only(content: Any, known: frozenset[str]) -> None:
    if type(content) is not dict or not content.keys() <= known:
        raise _Unusual
