"""What tests of every tier share: OTLP requests made by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import settings
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

settings.register_profile("handrail", deadline=None)  # nothing is timed: a busy machine is no failure
settings.load_profile("handrail")

TraceRequest = Callable[..., ExportTraceServiceRequest]
LogRequest = Callable[..., ExportLogsServiceRequest]


@pytest.fixture
def trace_request() -> TraceRequest:
    """Make a request with one span per name: the first is the root, the others are its children."""
    numbers = itertools.count(1)

    def make(
        trace_id: str = "0af7651916cd43dd8448eb211c80319c",
        names: Sequence[str] = ("root",),
        *,
        run_id: str = "",
        service: str = "tests",
        start: int = 1_700_000_000_000_000_000,
    ) -> ExportTraceServiceRequest:
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        group.resource.attributes.add(key="service.name").value.string_value = service
        scope = group.scope_spans.add()
        scope.scope.name = "handmade"
        root = b""
        for name in names:
            span = scope.spans.add(
                trace_id=bytes.fromhex(trace_id),
                span_id=next(numbers).to_bytes(8, "big"),
                parent_span_id=root,
                name=name,
                start_time_unix_nano=start,
                end_time_unix_nano=start + 1_000_000,
            )
            root = root or span.span_id
            if run_id:
                span.attributes.add(key="agent.run.id").value.string_value = run_id
        return request

    return make


@pytest.fixture
def log_request() -> LogRequest:
    """Make a request with one log-based event per name, in the context of one span."""

    def make(
        trace_id: str = "0af7651916cd43dd8448eb211c80319c", names: Sequence[str] = ("agent.decision",)
    ) -> ExportLogsServiceRequest:
        request = ExportLogsServiceRequest()
        scope = request.resource_logs.add().scope_logs.add()
        for number, name in enumerate(names, start=1):
            record = scope.log_records.add(
                trace_id=bytes.fromhex(trace_id),
                span_id=(7).to_bytes(8, "big"),
                event_name=name,
                time_unix_nano=number,
            )
            record.attributes.add(key="agent.decision.id").value.string_value = f"d{number}"
        return request

    return make
