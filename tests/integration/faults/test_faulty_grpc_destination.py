"""The misbehaving destination over gRPC: what it answers and what it keeps, seen through a plain channel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from handrail_harness.faults.behaviour import (
    ACCEPT,
    GARBAGE,
    HANG_UP,
    PARTIAL,
    REFUSE,
    SILENT,
    THROTTLE,
    TWICE,
    UNAVAILABLE,
    Behaviour,
)
from handrail_harness.faults.grpc_destination import FaultyGrpcDestination

pytestmark = pytest.mark.integration

MakeTraces = Callable[..., ExportTraceServiceRequest]


@pytest.fixture
def destination() -> Iterator[FaultyGrpcDestination]:
    """A destination that works until it is told otherwise."""
    with FaultyGrpcDestination() as running:
        yield running


@pytest.fixture
def channel(destination: FaultyGrpcDestination) -> Iterator[grpc.Channel]:
    """A connection to it."""
    with grpc.insecure_channel(destination.endpoint.removeprefix("grpc://")) as open_channel:
        yield open_channel


def _failed(export: Callable[..., Any], request: Any, **options: Any) -> Any:
    with pytest.raises(grpc.RpcError) as raised:
        export(request, **options)
    return raised.value


@pytest.mark.parametrize(
    ("behaviour", "code", "kept"),
    [
        (THROTTLE, "RESOURCE_EXHAUSTED", 0),
        (UNAVAILABLE, "UNAVAILABLE", 0),
        (replace(UNAVAILABLE, status=404), "UNIMPLEMENTED", 0),
        (replace(UNAVAILABLE, status=504), "DEADLINE_EXCEEDED", 0),
        (REFUSE, "INVALID_ARGUMENT", 0),
        (GARBAGE, "INTERNAL", 0),
        (TWICE, "UNAVAILABLE", 2),
        (HANG_UP, "CANCELLED", 2),
    ],
)
def test_what_is_answered_and_what_is_kept(
    destination: FaultyGrpcDestination,
    channel: grpc.Channel,
    trace_request: MakeTraces,
    behaviour: Behaviour,
    code: str,
    kept: int,
) -> None:
    """The code is the one that means what the behaviour says, and so is what becomes of the records."""
    export = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
    destination.then(behaviour)
    error = _failed(export, trace_request(names=("one", "two")))
    assert error.code().name == code
    assert len(destination.spans) == kept
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert (details is not None) == bool(behaviour.retry_after)
    if details is not None:
        retry = RetryInfo()
        assert Status.FromString(details).details[0].Unpack(retry)
        assert retry.retry_delay.seconds == int(behaviour.retry_after)
    assert export(trace_request(names=("three",))).partial_success.rejected_spans == 0
    assert destination.answered == [behaviour, ACCEPT]


def test_a_partial_success_says_how_many(
    destination: FaultyGrpcDestination,
    channel: grpc.Channel,
    trace_request: MakeTraces,
    log_request: Callable[..., ExportLogsServiceRequest],
) -> None:
    """Rejected spans and log records are counted, and only the others are kept."""
    destination.behaviour = PARTIAL
    traces = TraceServiceStub(channel).Export(trace_request(names=("one", "two")))  # type: ignore[no-untyped-call]
    assert traces.partial_success.rejected_spans == 1
    logs: ExportLogsServiceResponse = LogsServiceStub(channel).Export(log_request(names=("a", "b")))  # type: ignore[no-untyped-call]
    assert logs.partial_success.rejected_log_records == 1
    assert [span.name for span in destination.spans] == ["two"]
    assert [event.event_name for event in destination.events] == ["b"]


def test_what_is_too_large_does_not_get_in(trace_request: MakeTraces) -> None:
    """gRPC itself turns away what is above its limit, in its own words."""
    with (
        FaultyGrpcDestination(max_bytes=100) as destination,
        grpc.insecure_channel(destination.endpoint.removeprefix("grpc://")) as channel,
    ):
        request = trace_request(names=("x" * 200,))
        error = _failed(TraceServiceStub(channel).Export, request)  # type: ignore[no-untyped-call]
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert destination.requests == 0


def test_a_silent_destination_lets_go_when_it_stops(trace_request: MakeTraces) -> None:
    """A call that is never answered does not keep the destination from being stopped."""
    found: list[Any] = []
    with FaultyGrpcDestination() as destination:
        destination.behaviour = SILENT
        channel = grpc.insecure_channel(destination.endpoint.removeprefix("grpc://"))
        export = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        thread = threading.Thread(target=lambda: found.append(_failed(export, trace_request(), timeout=60)))
        thread.start()
        while not destination.requests:
            assert thread.is_alive()
            thread.join(0.01)
    thread.join()
    channel.close()
    assert found[0].code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert destination.spans == []


def test_a_stock_exporter_meets_it(destination: FaultyGrpcDestination) -> None:
    """OpenTelemetry's own exporter tries again after UNAVAILABLE, and delivers twice what was kept all the same."""
    destination.then(TWICE)
    endpoint = destination.endpoint.replace("grpc:", "http:")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    with provider.get_tracer("test").start_as_current_span("work"):
        pass
    provider.shutdown()
    assert [span.name for span in destination.spans] == ["work", "work"]
    assert destination.answered == [TWICE, ACCEPT]
