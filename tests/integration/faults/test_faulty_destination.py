"""The faulty destination: what it answers and what it keeps, seen through plain HTTP and a stock exporter."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from handrail_harness.faults import FaultyDestination
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

pytestmark = pytest.mark.integration


@pytest.fixture
def destination() -> Iterator[FaultyDestination]:
    """A destination that works until it is told otherwise."""
    with FaultyDestination() as running:
        yield running


def _post(destination: FaultyDestination, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(destination.endpoint).netloc, timeout=20)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/x-protobuf"})
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("behaviour", "kept"),
    [(ACCEPT, 2), (THROTTLE, 0), (UNAVAILABLE, 0), (GARBAGE, 0), (PARTIAL, 1), (TWICE, 2), (REFUSE, 0)],
)
def test_what_is_answered_and_what_is_kept(
    destination: FaultyDestination,
    trace_request: Callable[..., ExportTraceServiceRequest],
    behaviour: Behaviour,
    kept: int,
) -> None:
    """Status, Retry-After and body are the behaviour's, and so is what becomes of the records."""
    destination.then(behaviour)
    body = trace_request(names=("one", "two")).SerializeToString()
    status, headers, content = _post(destination, "/v1/traces", body)
    assert status == behaviour.status
    assert headers.get("Retry-After", "") == behaviour.retry_after
    assert [span.name for span in destination.spans] == ["one", "two"][2 - kept :]
    if behaviour is GARBAGE:
        assert b"html" in content
    else:
        rejected = ExportTraceServiceResponse.FromString(content).partial_success.rejected_spans
        assert rejected == behaviour.rejects
    assert _post(destination, "/v1/traces", body)[0] == 200
    assert destination.answered == [behaviour, ACCEPT]


def test_rejected_log_records_are_counted(
    destination: FaultyDestination, log_request: Callable[..., ExportLogsServiceRequest]
) -> None:
    """A partial success of logs says how many were rejected, and only the others are kept."""
    destination.behaviour = Behaviour(rejects=2)
    body = log_request(names=("a", "b", "c")).SerializeToString()
    _, _, content = _post(destination, "/v1/logs", body)
    assert ExportLogsServiceResponse.FromString(content).partial_success.rejected_log_records == 2
    assert [event.event_name for event in destination.events] == ["c"]


def test_hanging_up_keeps_the_records(
    destination: FaultyDestination, trace_request: Callable[..., ExportTraceServiceRequest]
) -> None:
    """The records are there and the exporter learns nothing, so that it has to send them again."""
    destination.then(HANG_UP)
    with pytest.raises(ConnectionError):
        _post(destination, "/v1/traces", trace_request().SerializeToString())
    assert [span.name for span in destination.spans] == ["root"]


def test_a_silent_destination_lets_go_when_it_stops(
    trace_request: Callable[..., ExportTraceServiceRequest],
) -> None:
    """A request that is never answered does not keep the destination from being stopped."""
    ended = threading.Event()

    def ask() -> None:
        with pytest.raises(ConnectionError):
            _post(destination, "/v1/traces", trace_request().SerializeToString())
        ended.set()

    with FaultyDestination() as destination:
        destination.behaviour = SILENT
        thread = threading.Thread(target=ask)
        thread.start()
        while not destination.requests:
            assert not ended.wait(0.01)
    thread.join()
    assert ended.is_set()
    assert destination.spans == []


def test_a_stock_exporter_meets_it(destination: FaultyDestination) -> None:
    """OpenTelemetry's own exporter tries again after 503, and delivers twice what was kept all the same."""
    destination.then(TWICE)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{destination.endpoint}/v1/traces")))
    with provider.get_tracer("test").start_as_current_span("work"):
        pass
    provider.shutdown()
    assert [span.name for span in destination.spans] == ["work", "work"]
    assert destination.answered == [TWICE, ACCEPT]
