"""The drop-in exporters send what the stock ones send, as the same environment variables say."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as StockGrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as StockGrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as StockHttpLogs
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as StockHttpSpans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from handrail_propagation.exporters import log_exporter, span_exporter
from handrail_propagation.otlp import grpc as our_grpc
from handrail_propagation.otlp import http as our_http

pytestmark = pytest.mark.integration

Request = tuple[str, dict[str, str], bytes]


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent; answers `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                collector.requests.append((self.path, headers, body))
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def grpc_collector() -> Iterator[tuple[str, list[tuple[str, dict[str, Any], bytes]]]]:
    calls: list[tuple[str, dict[str, Any], bytes]] = []

    class Any_(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            def keep(body: bytes, call: Any) -> bytes:
                calls.append((details.method, dict(call.invocation_metadata()), body))
                return b""

            return grpc.unary_unary_rpc_method_handler(keep)

    server = grpc.server(ThreadPoolExecutor(2), handlers=(Any_(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", calls
    server.stop(0).wait()


def spans() -> list[ReadableSpan]:
    provider = TracerProvider(resource=Resource({"service.name": "s"}), shutdown_on_exit=False)
    tracer = provider.get_tracer("test", "1")
    made = [
        tracer.start_span(f"span {number}", attributes={"n": number, "t": ("a", "b")}) for number in range(3)
    ]
    for span in made:
        span.end()
    return made  # type: ignore[return-value]


def logs() -> list[ReadableLogRecord]:
    log = LogRecord(
        timestamp=1,
        body={"a": [1]},
        severity_number=SeverityNumber.INFO,
        attributes={"k": "v"},
        event_name="e",
    )
    return [ReadableLogRecord(log, Resource({"service.name": "s"}))]


def test_http_requests_are_the_stock_ones(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path, headers, compression and body are those of the stock exporters, from the same variables."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    batch, records = spans(), logs()
    for make in (StockHttpSpans, our_http.OTLPSpanExporter):
        exporter = make()
        assert exporter.export(batch) is SpanExportResult.SUCCESS
        exporter.shutdown()
    for make_logs in (StockHttpLogs, our_http.OTLPLogExporter):
        log_exporter_ = make_logs()
        assert log_exporter_.export(records) is LogRecordExportResult.SUCCESS
        log_exporter_.shutdown()
    unpacked = [
        (
            path,
            {name: value for name, value in headers.items() if name not in ("host", "content-length")},
            gzip.decompress(body),
        )
        for path, headers, body in collector.requests
    ]
    assert len(unpacked) == 4
    assert unpacked[0] == unpacked[1]
    assert unpacked[2] == unpacked[3]
    assert unpacked[0][1]["authorization"] == "Bearer x"


def test_http_exporters_encode_directly(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stock encoder is not called for ordinary spans and log records."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)

    def forbidden(*_: object) -> None:
        raise AssertionError("the stock encoder was called")

    monkeypatch.setattr("opentelemetry.exporter.otlp.proto.http.trace_exporter.encode_spans", forbidden)
    monkeypatch.setattr("opentelemetry.exporter.otlp.proto.http._log_exporter.encode_logs", forbidden)
    exporter, log_exporter_ = our_http.OTLPSpanExporter(), our_http.OTLPLogExporter()
    assert exporter.export(spans()) is SpanExportResult.SUCCESS
    assert log_exporter_.export(logs()) is LogRecordExportResult.SUCCESS
    exporter.shutdown()
    log_exporter_.shutdown()
    assert len(collector.requests) == 2


def test_http_limits_and_refusals_stay(collector: Collector) -> None:
    """A request above the limit is not sent; a refusal is a failure; nothing is sent after a shutdown."""
    small = our_http.OTLPSpanExporter(endpoint=collector.url, max_request_size=10)
    assert small.export(spans()) is SpanExportResult.FAILURE
    assert collector.requests == []
    collector.status = 400
    refused = our_http.OTLPSpanExporter(endpoint=collector.url)
    assert refused.export(spans()) is SpanExportResult.FAILURE
    assert len(collector.requests) == 1
    refused.shutdown()
    assert refused.export(spans()) is SpanExportResult.FAILURE
    assert len(collector.requests) == 1
    small.shutdown()


def test_a_batch_that_cannot_be_encoded_fails_as_with_the_stock_exporter(collector: Collector) -> None:
    """An exporter never raises: what OTLP cannot express is a failed export."""
    batch = [ReadableSpan("\ud800", spans()[0].get_span_context())]
    for make in (StockHttpSpans, our_http.OTLPSpanExporter):
        exporter = make(endpoint=collector.url)
        assert exporter.export(batch) is SpanExportResult.FAILURE
        exporter.shutdown()
    assert collector.requests == []


def test_grpc_requests_are_the_stock_ones(grpc_collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method, metadata and message are those of the stock exporters, from the same variables."""
    endpoint, calls = grpc_collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    batch, records = spans(), logs()
    for make in (StockGrpcSpans, our_grpc.OTLPSpanExporter):
        exporter = make()
        assert exporter.export(batch) is SpanExportResult.SUCCESS
        exporter.shutdown()
    for make_logs in (StockGrpcLogs, our_grpc.OTLPLogExporter):
        log_exporter_ = make_logs()
        assert log_exporter_.export(records) is LogRecordExportResult.SUCCESS
        log_exporter_.shutdown()
    assert len(calls) == 4
    assert calls[0] == calls[1]
    assert calls[2] == calls[3]
    assert calls[0][1]["authorization"] == "Bearer x"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_instrument_uses_them(protocol: str) -> None:
    """`OTEL_TRACES_EXPORTER=otlp` and `OTEL_LOGS_EXPORTER=otlp` mean these exporters."""
    module = our_grpc if protocol == "grpc" else our_http
    for exporter, expected in (
        (span_exporter("otlp", protocol), module.OTLPSpanExporter),
        (log_exporter("otlp", protocol), module.OTLPLogExporter),
    ):
        made = exporter._here()  # type: ignore[attr-defined]
        assert type(made) is expected
        exporter.shutdown()
