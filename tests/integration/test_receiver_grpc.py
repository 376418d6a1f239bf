"""OTLP over gRPC: the official exporters are served, and failures carry the codes they understand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from handrail_harness.receiver.server import Receiver
from handrail_harness.receiver.settings import Settings
from handrail_harness.sources.store import StoreSource
from handrail_harness.store.rawlog import LogUnavailable
from handrail_harness.store.store import Store

pytestmark = pytest.mark.integration

TRACE = "0af7651916cd43dd8448eb211c80319c"
SERVICE = "/opentelemetry.proto.collector.{}.v1.{}Service/Export"
TRACES = SERVICE.format("trace", "Trace")
MakeTraces = Callable[..., ExportTraceServiceRequest]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    settings = Settings(port=0, grpc_port=0, data_dir=tmp_path / "data", max_body_bytes=100_000)
    with Receiver(settings, lambda line: None) as running:
        yield running


@pytest.fixture
def channel(receiver: Receiver) -> Iterator[grpc.Channel]:
    assert receiver.state is not None
    with grpc.insecure_channel(
        receiver.state.grpc_endpoint, options=[("grpc.enable_http_proxy", 0)]
    ) as opened:
        yield opened


@pytest.fixture
def source(receiver: Receiver) -> Iterator[StoreSource]:
    opened = StoreSource.open(receiver.settings.data_dir)
    yield opened
    opened.close()


def export(channel: grpc.Channel, method: str, body: bytes, **options: Any) -> bytes:
    answer: bytes = channel.unary_unary(method)(body, timeout=60, **options)
    return answer


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_official_exporter_is_served(
    compression: grpc.Compression, receiver: Receiver, source: StoreSource
) -> None:
    """Spans of the OpenTelemetry SDK's own gRPC exporter arrive, packed or not."""
    assert receiver.state is not None
    provider = TracerProvider()
    exporter = OTLPSpanExporter(receiver.state.grpc_endpoint, insecure=True, compression=compression)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("tests").start_as_current_span("over gRPC") as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
    provider.shutdown()
    assert [span.name for span in source.spans(trace_id)] == ["over gRPC"]


def test_all_three_signals(
    channel: grpc.Channel, source: StoreSource, log_request: Callable[..., ExportLogsServiceRequest]
) -> None:
    """Logs and metrics have their service; the answer is an empty response message."""
    assert export(channel, SERVICE.format("logs", "Logs"), log_request().SerializeToString()) == b""
    metrics = ExportMetricsServiceRequest()
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    assert export(channel, SERVICE.format("metrics", "Metrics"), metrics.SerializeToString()) == b""
    assert [event.event_name for event in source.events(TRACE)] == ["agent.decision"]


def test_malformed_is_invalid_argument(channel: grpc.Channel) -> None:
    """What is not OTLP is refused for good."""
    with pytest.raises(grpc.RpcError) as caught:
        export(channel, TRACES, b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_oversize_is_resource_exhausted(channel: grpc.Channel) -> None:
    """A message beyond the limit is refused by the transport."""
    with pytest.raises(grpc.RpcError) as caught:
        export(channel, TRACES, b"x" * 200_000)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_unavailable_disk_is_unavailable_with_a_delay(
    channel: grpc.Channel, trace_request: MakeTraces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be made durable is UNAVAILABLE with RetryInfo: exporters keep it and come back."""

    def broken(store: Store, *_: object) -> Future[int]:
        refused: Future[int] = Future()
        refused.set_exception(LogUnavailable("No space left on device"))
        return refused

    with monkeypatch.context() as patched:
        patched.setattr(Store, "append", broken)
        with pytest.raises(grpc.RpcError) as caught:
            export(channel, TRACES, trace_request().SerializeToString())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    retry = RetryInfo()
    assert Status.FromString(details).details[0].Unpack(retry)
    assert retry.retry_delay.seconds >= 1
    assert export(channel, TRACES, trace_request().SerializeToString()) == b""
