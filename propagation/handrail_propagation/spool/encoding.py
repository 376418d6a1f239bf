"""What the SDK hands to a processor, as the OTLP bytes that the spool keeps."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.common._internal import (
    _encode_instrumentation_scope,
    _encode_resource,
)
from opentelemetry.exporter.otlp.proto.common._internal.trace_encoder import _encode_span
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope


def encode_any(span: ReadableSpan) -> bytes:
    """Return an OTLP `Span` of one that our own encoder leaves to the stock one; end time 0 while it runs."""
    return _encode_span(span).SerializeToString()


class Origins:
    """Encodes each pair of resource and scope once, and knows it again by its objects."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[object, object, bytes]] = {}
        self.last: tuple[object, object, bytes] = (self, self, b"")
        """Resource, scope and payload of the last time."""

    def payload(self, resource: Resource | None, scope: InstrumentationScope | None) -> bytes:
        """Return an OTLP `ResourceSpans` of this resource and scope, without spans."""
        key = id(resource), id(scope)
        known = self._known.get(key)
        if known is not None:
            self.last = known
            return known[2]
        if len(self._known) >= 256:  # somebody makes a tracer for each call
            self._known.clear()
        payload = _encode(resource or Resource.get_empty(), scope)
        # The objects are kept with it, so that no other object can get their ids
        self._known[key] = resource, scope, payload
        return payload


def _encode(resource: Resource, scope: InstrumentationScope | None) -> bytes:
    spans = ScopeSpans(
        scope=_encode_instrumentation_scope(scope) if scope else None,
        schema_url=(scope.schema_url or "") if scope else "",
    )
    return ResourceSpans(
        resource=_encode_resource(resource), scope_spans=[spans], schema_url=resource.schema_url
    ).SerializeToString()
