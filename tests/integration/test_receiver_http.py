"""OTLP over HTTP against a listening receiver: every answer the specification asks for, and nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import httpx
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from handrail_harness.errors import StackError
from handrail_harness.receiver.server import Receiver
from handrail_harness.receiver.settings import Settings
from handrail_harness.sources.store import StoreSource
from handrail_harness.store import rawlog
from handrail_harness.store.rawlog import LogUnavailable
from handrail_harness.store.store import Store
from handrail_propagation.otlp.json import to_json_document

pytestmark = pytest.mark.integration

TRACE = "0af7651916cd43dd8448eb211c80319c"
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
LIMIT = 200_000
MakeTraces = Callable[..., ExportTraceServiceRequest]
MakeLogs = Callable[..., ExportLogsServiceRequest]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def receiver(data_dir: Path) -> Iterator[Receiver]:
    settings = Settings(port=0, grpc_port=0, data_dir=data_dir, max_body_bytes=LIMIT)
    with Receiver(settings, lambda line: None) as running:
        yield running


@pytest.fixture
def http(receiver: Receiver) -> Iterator[httpx.Client]:
    assert receiver.state is not None
    with httpx.Client(base_url=receiver.state.http_url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def source(receiver: Receiver, data_dir: Path) -> Iterator[StoreSource]:
    opened = StoreSource.open(data_dir)
    yield opened
    opened.close()


def test_protobuf_is_acknowledged_and_readable(
    http: httpx.Client, source: StoreSource, trace_request: MakeTraces
) -> None:
    """A 200 carries an empty response message (no partial success), and the spans can be read at once."""
    answer = http.post("/v1/traces", content=trace_request().SerializeToString(), headers=PROTOBUF)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-protobuf")
    assert not ExportTraceServiceResponse.FromString(answer.content).HasField("partial_success")
    assert [span.name for span in source.spans(TRACE)] == ["root"]


def test_json_is_answered_in_json(http: httpx.Client, source: StoreSource, trace_request: MakeTraces) -> None:
    """OTLP/JSON with hex ids is taken, also with a charset in the content type, and answered `{}`."""
    body = json.dumps(to_json_document(trace_request(names=("json",)))).encode()
    answer = http.post(
        "/v1/traces", content=body, headers={"content-type": "application/json; charset=utf-8"}
    )
    assert (answer.status_code, answer.json()) == (200, {})
    assert [span.name for span in source.spans(TRACE)] == ["json"]


def test_gzip_is_unpacked(http: httpx.Client, source: StoreSource, trace_request: MakeTraces) -> None:
    """A packed body is taken in both encodings, also when it is packed in several members."""
    packed = gzip.compress(trace_request(names=("a",)).SerializeToString())
    packed += gzip.compress(trace_request(names=("b",)).SerializeToString())
    headers = {"content-encoding": "gzip"}
    assert http.post("/v1/traces", content=packed, headers=PROTOBUF | headers).status_code == 200
    body = gzip.compress(json.dumps(to_json_document(trace_request(names=("c",)))).encode())
    assert http.post("/v1/traces", content=body, headers=JSON | headers).status_code == 200
    assert [span.name for span in source.spans(TRACE)] == ["a", "b", "c"]


def test_logs_and_metrics_are_taken(http: httpx.Client, source: StoreSource, log_request: MakeLogs) -> None:
    """Log-based events are readable by trace; metrics are acknowledged and kept."""
    answer = http.post("/v1/logs", content=log_request().SerializeToString(), headers=PROTOBUF)
    assert answer.status_code == 200
    (event,) = source.events(TRACE)
    assert (event.event_name, event.attributes) == ("agent.decision", {"agent.decision.id": "d1"})
    metrics = ExportMetricsServiceRequest()
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    assert http.post("/v1/metrics", content=metrics.SerializeToString(), headers=PROTOBUF).status_code == 200


def test_empty_export_is_a_success(http: httpx.Client, source: StoreSource, data_dir: Path) -> None:
    """A request without spans is acknowledged (OTLP specification) and takes no place on disk."""
    assert http.post("/v1/traces", content=b"", headers=PROTOBUF).status_code == 200
    assert http.post("/v1/traces", content=b"{}", headers=JSON).status_code == 200
    assert list((data_dir / "raw").iterdir()) == []


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\xff\xff\xff\xff", PROTOBUF),
        (b"not json", JSON),
        (b"[]", JSON),
        (b"[" * 100_000, JSON),
        (b'{"resourceSpans": 7}', JSON),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz"}]}]}]}', JSON),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"\\ud800"}]}]}]}', JSON),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":1e400}]}]}]}', JSON),
        (b"not gzip", PROTOBUF | {"content-encoding": "gzip"}),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], PROTOBUF | {"content-encoding": "gzip"}),
    ],
)
def test_malformed_is_400_with_a_status(
    body: bytes, headers: dict[str, str], http: httpx.Client, data_dir: Path
) -> None:
    """What is not OTLP is refused for good, with a Status that says why in the request's encoding."""
    answer = http.post("/v1/traces", content=body, headers=headers)
    assert answer.status_code == 400
    if headers["content-type"] == "application/json":
        status = answer.json()
        code, message = status["code"], status["message"]
    else:
        parsed = Status.FromString(answer.content)
        code, message = parsed.code, parsed.message
    assert (code, bool(message)) == (3, True)
    assert list((data_dir / "raw").iterdir()) == []


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/plain"}, {}, PROTOBUF | {"content-encoding": "zstd"}],
)
def test_unknown_content_is_415(headers: dict[str, str], http: httpx.Client) -> None:
    """Other content types and encodings are named in the refusal; a web page cannot post text here."""
    answer = http.post("/v1/traces", content=b"", headers=headers)
    assert answer.status_code == 415
    assert b"send" in answer.content


def test_oversize_is_413(http: httpx.Client) -> None:
    """A body beyond the limit is refused, whether declared, streamed, or only large once it is unpacked."""

    def streamed() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * 10_000

    packed = gzip.compress(b"x" * (LIMIT + 1))
    assert len(packed) < 1000
    gzipped = PROTOBUF | {"content-encoding": "gzip"}
    assert http.post("/v1/traces", content=b"x" * (LIMIT + 1), headers=PROTOBUF).status_code == 413
    assert http.post("/v1/traces", content=packed, headers=gzipped).status_code == 413
    with contextlib.suppress(httpx.TransportError):  # closed while the client still sends: refused as well
        assert http.post("/v1/traces", content=streamed(), headers=PROTOBUF).status_code == 413
    assert http.get("/health").status_code == 200


def test_large_export_within_the_limit_is_taken(
    http: httpx.Client, source: StoreSource, trace_request: MakeTraces
) -> None:
    """A body of thousands of spans goes the way of a small one."""
    request = trace_request(names=[f"span {number}" for number in range(2000)])
    assert 100_000 < request.ByteSize() < LIMIT
    assert http.post("/v1/traces", content=request.SerializeToString(), headers=PROTOBUF).status_code == 200
    assert len(source.spans(TRACE)) == 2000


def test_slow_client_is_cut_off(data_dir: Path) -> None:
    """A client that never sends its body is answered 408 and keeps no place."""
    settings = Settings(port=0, grpc_port=0, data_dir=data_dir, body_timeout=0.5)
    with Receiver(settings, lambda line: None) as receiver:
        assert receiver.state is not None
        host, _, port = receiver.state.http_url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            slow.sendall(
                b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
                b"Content-Length: 100\r\n\r\nonly this"
            )
            assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_unavailable_disk_is_503_with_retry_after(
    http: httpx.Client, trace_request: MakeTraces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be made durable is never acknowledged: 503, and when to come back."""

    def broken(store: Store, *_: object) -> Future[int]:
        refused: Future[int] = Future()
        refused.set_exception(LogUnavailable("No space left on device"))
        return refused

    body = trace_request().SerializeToString()
    with monkeypatch.context() as patched:
        patched.setattr(Store, "append", broken)
        answer = http.post("/v1/traces", content=body, headers=PROTOBUF)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "No space left" in Status.FromString(answer.content).message
    assert http.post("/v1/traces", content=body, headers=PROTOBUF).status_code == 200


def test_hung_disk_is_503(data_dir: Path, trace_request: MakeTraces, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not answer in time refuses the export; too many of them at once are refused, too."""
    release = threading.Event()
    monkeypatch.setattr(rawlog, "_sync", lambda handle: release.wait(20))
    settings = Settings(port=0, grpc_port=0, data_dir=data_dir, durable_timeout=2, max_exports=3)
    body = trace_request().SerializeToString()

    async def export_ten(url: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            posts = (client.post("/v1/traces", content=body, headers=PROTOBUF) for _ in range(10))
            return list(await asyncio.gather(*posts))

    with Receiver(settings, lambda line: None) as receiver:
        assert receiver.state is not None
        answers = asyncio.run(export_ten(receiver.state.http_url))
        release.set()
    assert {answer.status_code for answer in answers} == {503}
    reasons = {Status.FromString(answer.content).message for answer in answers}
    assert reasons == {"the disk is too slow", "too many exports at the same time"}


def test_other_paths_and_methods(http: httpx.Client) -> None:
    """Only POST on the three export paths is an export."""
    assert http.get("/v1/traces").status_code == 405
    assert http.post("/v1/profiles", content=b"", headers=PROTOBUF).status_code == 404


@pytest.mark.parametrize("path", ["/status", "/traces", f"/traces/{TRACE}/spans"])
def test_queries_need_the_token(path: str, http: httpx.Client, receiver: Receiver) -> None:
    """Without the token from the private state file nothing can be read, by no other user and no web page."""
    assert receiver.state is not None
    url = f"/api/handrail/v1{path}"
    assert http.get(url).status_code == 401
    assert http.get(url, headers={"authorization": "Bearer wrong"}).status_code == 401
    right = {"authorization": f"Bearer {receiver.state.token}"}
    assert http.get(url, headers=right).status_code == 200


def test_taken_port_is_one_clear_line(receiver: Receiver, tmp_path: Path) -> None:
    """A port in use is a StackError that names it and the option; nothing stays open."""
    assert receiver.state is not None
    taken = [
        int(address.rpartition(":")[2]) for address in (receiver.state.http_url, receiver.state.grpc_endpoint)
    ]
    folder = tmp_path / "other"
    with pytest.raises(StackError, match=f"port {taken[0]}.*--port"):
        Receiver(Settings(port=taken[0], grpc_port=0, data_dir=folder), print).start()
    with pytest.raises(StackError, match=f"port {taken[1]}.*--grpc-port"):
        Receiver(Settings(port=0, grpc_port=taken[1], data_dir=folder), print).start()
    with Receiver(Settings(port=0, grpc_port=0, data_dir=folder), print):
        pass


def test_stopping_takes_the_state_file_along(data_dir: Path) -> None:
    """After a clean stop nothing claims that a server runs, and the directory is free."""
    settings = Settings(port=0, grpc_port=0, data_dir=data_dir)
    with Receiver(settings, print):
        assert (data_dir / "server.json").exists()
    assert not (data_dir / "server.json").exists()
    with Receiver(settings, print):
        pass
