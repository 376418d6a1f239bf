"""Export requests: many spans or log records, grouped by resource and scope as the stock encoder groups them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common._internal import _log_encoder as stock_logs
from opentelemetry.exporter.otlp.proto.common._internal import trace_encoder as stock_spans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from handrail_propagation.otlp.logs import encode_plain_log
from handrail_propagation.otlp.messages import encode_plain
from handrail_propagation.otlp.values import Attributes, delimited, text
from handrail_propagation.otlp.wire import TABLE_SIZE, Unusual, fields, varint

_FIRST: Final = fields(0x0A)
_SECOND: Final = fields(0x12)
_SCHEMA_URL: Final = fields(0x1A)
_RESOURCE_ATTRIBUTES: Final = Attributes(0x0A)
_SCOPE_ATTRIBUTES: Final = Attributes(0x1A)
_MAX_CACHED: Final = 256
_span_origin: Final = attrgetter("_resource", "_instrumentation_scope")
_log_origin: Final = attrgetter("resource", "instrumentation_scope")


def encode_spans(spans: Sequence[ReadableSpan]) -> bytes:
    """Return an `ExportTraceServiceRequest`, byte for byte the stock encoder's; raises what that raises."""
    try:
        return _encode(spans, encode_plain, _span_origin)
    except Unusual:
        return stock_spans.encode_spans(spans).SerializePartialToString()


def encode_logs(batch: Sequence[ReadableLogRecord]) -> bytes:
    """Return an `ExportLogsServiceRequest`, byte for byte the stock encoder's; raises what that raises."""
    try:
        return _encode(batch, encode_plain_log, _log_origin)
    except Unusual:
        return stock_logs.encode_logs(batch).SerializePartialToString()


def _encode(
    items: Sequence[Any], encode: Callable[[Any], bytes], origin: Callable[[Any], tuple[Any, Any]]
) -> bytes:
    groups = _Groups()
    by_identity: dict[tuple[int, int], list[bytes]] = {}
    group: list[bytes] = []
    last: tuple[Any, Any] = (None, None)
    for item in items:
        content = encode(item)
        resource, scope = origin(item)
        if resource is not last[0] or scope is not last[1] or not group:
            last = resource, scope
            found = by_identity.get((id(resource), id(scope)))
            if found is None:
                found = by_identity[id(resource), id(scope)] = groups.of(resource, scope or None)
            group = found
        size = len(content)
        group.append(_SECOND[size] if size < TABLE_SIZE else b"\x12" + varint(size))
        group.append(content)
    return groups.encode()


class _Groups:
    """Encoded items by resource and scope, equal ones together, in the order of their first item."""

    def __init__(self) -> None:
        self._first: Any = None
        self._scopes: dict[Any, list[bytes]] = {}
        self._others: dict[Any, dict[Any, list[bytes]]] = {}

    def of(self, resource: Any, scope: Any) -> list[bytes]:
        """Return the list of one group."""
        if self._first is None:
            self._first = resource
        if resource is self._first:
            scopes = self._scopes
        else:
            # Only now: hashing a resource costs more than encoding a span
            if not self._others:
                self._others[self._first] = self._scopes
            scopes = self._others.setdefault(resource, {})
        return scopes.setdefault(scope, [])

    def encode(self) -> bytes:
        """Return all groups, as the repeated field of an export request."""
        if self._others:
            return b"".join(chain.from_iterable(_resource_spans(*entry) for entry in self._others.items()))
        return b"".join(_resource_spans(self._first, self._scopes)) if self._scopes else b""


def _resource_spans(resource: Any, scopes: dict[Any, list[bytes]]) -> list[bytes]:
    """Return the pieces of a `ResourceSpans`: a batch is big, and joined only once."""
    before, after = _resource(resource)
    pieces = [b"", before]
    for scope, encoded in scopes.items():
        head, tail = _scope(scope)
        pieces += (b"\x12", varint(len(head) + sum(map(len, encoded)) + len(tail)), head)
        pieces += encoded
        pieces.append(tail)
    pieces.append(after)
    pieces[0] = b"\n" + varint(sum(map(len, pieces)))
    return pieces


_cache: dict[int, tuple[Any, tuple[bytes, bytes]]] = {}
"""By identity: both kinds of object do not change, and comparing them by value costs more than encoding them."""


def _cached(key: Any, parts: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    if len(_cache) >= _MAX_CACHED:
        _cache.clear()
    _cache[id(key)] = key, parts
    return parts


def _resource(resource: Any) -> tuple[bytes, bytes]:
    """Return what stands in a `ResourceSpans` before and behind its scopes."""
    known = _cache.get(id(resource))
    if known is not None and known[0] is resource:
        return known[1]
    if type(resource) is not Resource:
        raise Unusual
    content = _RESOURCE_ATTRIBUTES.encode(resource._attributes)
    return _cached(resource, (delimited(_FIRST, content), text(_SCHEMA_URL, resource._schema_url)))


def _scope(scope: Any) -> tuple[bytes, bytes]:
    """Return what stands in a `ScopeSpans` before and behind its spans."""
    if scope is None:
        return b"\n\x00", b""
    known = _cache.get(id(scope))
    if known is not None and known[0] is scope:
        return known[1]
    if type(scope) is not InstrumentationScope:
        raise Unusual
    content = text(_FIRST, scope._name) + text(_SECOND, scope._version)
    if scope._attributes:
        content += _SCOPE_ATTRIBUTES.encode(scope._attributes)
    return _cached(scope, (delimited(_FIRST, content), text(_SCHEMA_URL, scope._schema_url)))
