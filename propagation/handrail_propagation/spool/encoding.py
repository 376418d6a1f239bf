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

from handrail_propagation.messagespan import MessageSpan
from handrail_propagation.otlp.logs import encode_log
from handrail_propagation.otlp.messages import encode_end as end_of_message
from handrail_propagation.otlp.messages import encode_start as start_of_message
from handrail_propagation.otlp.spans import encode_plain_span
from handrail_propagation.otlp.wire import Unusual

__all__ = ["Origins", "encode_end", "encode_log", "encode_start"]


def encode_start(span: ReadableSpan) -> bytes:
    """Return an OTLP `Span` with end time 0."""
    try:
        return start_of_message(span) if type(span) is MessageSpan else encode_plain_span(span)
    except Unusual:
        return _encode_span(span).SerializeToString()


def encode_end(span: ReadableSpan) -> bytes:
    """Return an OTLP `Span`."""
    try:
        return end_of_message(span) if type(span) is MessageSpan else encode_plain_span(span)
    except Unusual:
        return _encode_span(span).SerializeToString()


class Origins:
    """Encodes each pair of resource and scope once, and knows it again by its objects."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[object, object, bytes]] = {}
        self._last: tuple[object, object, bytes] = (self, self, b"")

    def payload(self, resource: Resource | None, scope: InstrumentationScope | None) -> bytes:
        """Return an OTLP `ResourceSpans` of this resource and scope, without spans."""
        last = self._last
        if last[0] is resource and last[1] is scope:
            return last[2]
        key = id(resource), id(scope)
        known = self._known.get(key)
        if known is not None:
            self._last = known
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
