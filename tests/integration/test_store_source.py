"""`StoreSource`: the same answers with a server and without one, one clear line when nothing can be read."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness.errors import SourceError
from handrail_harness.keptalive import request
from handrail_harness.otlp import spans_of
from handrail_harness.receiver.server import Receiver
from handrail_harness.receiver.settings import Settings
from handrail_harness.rules import RunReader
from handrail_harness.sizes import RunSize
from handrail_harness.sources import open_source, store
from handrail_harness.sources.store import StoreSource
from handrail_harness.spans import LogEvent, Span, TraceSummary
from handrail_harness.store.location import DirectoryLock, ServerState

pytestmark = pytest.mark.integration

TRACE = "0af7651916cd43dd8448eb211c80319c"
RUN = "run/with a slash?\r\n\x1b\x00é"
ROOT = "task/with a slash?\n\x00"
PROTOBUF = {"content-type": "application/x-protobuf"}
MakeTraces = Callable[..., ExportTraceServiceRequest]
Answers = tuple[
    list[Span],
    list[LogEvent],
    list[str],
    list[TraceSummary],
    list[Span],
    list[str],
    RunSize | None,
    list[str],
]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def receiver(data_dir: Path) -> Iterator[Receiver]:
    with Receiver(Settings(port=0, grpc_port=0, data_dir=data_dir), lambda line: None) as running:
        yield running


def answers(source: StoreSource) -> Answers:
    return (
        list(source.spans(TRACE)),
        list(source.events(TRACE)),
        list(source.traces_of_run(RUN)),
        list(source.traces()),
        list(source.spans("0" * 32)),
        list(source.traces_of_root(ROOT)),
        source.size_of([TRACE, "0" * 32], [RUN], [ROOT]),
        list(source.traces_of_run(RUN + "and no end" * 20_000)),
    )


def test_same_answers_with_and_without_a_server(
    receiver: Receiver,
    data_dir: Path,
    trace_request: MakeTraces,
    log_request: Callable[..., ExportLogsServiceRequest],
) -> None:
    """What the server tells is what its files tell after it has gone, read twice at once."""
    assert receiver.state is not None
    request = trace_request(names=("root", "child"), run_id=RUN)
    received = request.resource_spans[0].scope_spans[0].spans[1]
    received.attributes.add(key="agent.message.root_id").value.string_value = ROOT
    for path, body in (("traces", request), ("logs", log_request())):
        url = f"{receiver.state.http_url}/v1/{path}"
        content = body.SerializeToString()
        assert httpx.post(url, content=content, headers=PROTOBUF, trust_env=False).status_code == 200
    served = StoreSource.open(data_dir)
    with_server = answers(served)
    served.close()
    receiver.stop()
    first, second = StoreSource.open(data_dir), StoreSource.open(data_dir)
    assert answers(first) == answers(second) == with_server
    assert with_server[0] == list(spans_of(request))
    assert with_server[2] == [TRACE]
    assert with_server[4] == []
    assert with_server[7] == []
    assert with_server[6] == RunSize(traces=1, spans=2, events=1)
    for reader in (first, second):
        assert reader.size_of([TRACE] * 500, [], []) is None
    assert with_server[5] == [TRACE]
    assert first.status()["spans"] == 2
    first.close()
    second.close()


def test_acknowledged_means_readable(receiver: Receiver, data_dir: Path, trace_request: MakeTraces) -> None:
    """A question asked right after a 200 has the span in its answer, every time."""
    assert receiver.state is not None
    source = StoreSource.open(data_dir)
    with httpx.Client(base_url=receiver.state.http_url, trust_env=False) as client:
        for number in range(1, 51):
            body = trace_request(f"{number:032x}").SerializeToString()
            assert client.post("/v1/traces", content=body, headers=PROTOBUF).status_code == 200
            assert len(source.spans(f"{number:032x}")) == 1
    source.close()


def test_default_store_is_found_by_name(
    receiver: Receiver, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`store` is the one in HANDRAIL_DATA_DIR."""
    monkeypatch.setenv("HANDRAIL_DATA_DIR", str(data_dir))
    source = open_source("store")
    assert source.name == "store"
    assert list(source.traces()) == []
    source.close()


def test_no_store_says_what_to_start(tmp_path: Path) -> None:
    """Where nothing was ever stored the error names the folder and the commands that make a store."""
    with pytest.raises(SourceError, match=r"handrail serve.*handrail up") as caught:
        StoreSource.open(tmp_path / "nowhere")
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / "nowhere").exists()


def test_server_that_goes_away_is_an_error(receiver: Receiver, data_dir: Path) -> None:
    """Losing the server between two questions is one line saying so, not an empty answer."""
    source = StoreSource.open(data_dir)
    receiver.stop()
    with pytest.raises(SourceError, match="no longer answers"):
        source.spans(TRACE)
    source.close()
    with pytest.raises(SourceError, match="closed"):
        source.traces()


def test_stale_state_file_is_not_believed(
    receiver: Receiver, data_dir: Path, trace_request: MakeTraces
) -> None:
    """After a crash the state file's port may be anybody's: without a holder of the lock it is not asked."""
    assert receiver.state is not None
    body = trace_request().SerializeToString()
    url = f"{receiver.state.http_url}/v1/traces"
    assert httpx.post(url, content=body, headers=PROTOBUF, trust_env=False).status_code == 200
    receiver.stop()
    asked: list[str] = []

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        thread = threading.Thread(target=stranger.serve_forever)
        thread.start()
        ServerState(os.getpid(), f"http://127.0.0.1:{stranger.server_port}", "", "t").write(data_dir)
        source = StoreSource.open(data_dir)
        assert len(source.spans(TRACE)) == 1
        source.close()
        stranger.shutdown()
        thread.join()
    assert asked == []


def test_a_holder_that_does_not_answer_is_an_error(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked directory without an answering server is told after a short wait, not waited for for ever."""
    monkeypatch.setattr(store, "_BUSY", 0.2)
    data_dir.mkdir()
    lock = DirectoryLock(data_dir)
    lock.acquire()
    with pytest.raises(SourceError, match="does not answer"):
        StoreSource.open(data_dir)
    lock.release()


def test_a_run_is_read_again_when_there_is_more_of_it(
    receiver: Receiver,
    data_dir: Path,
    trace_request: MakeTraces,
    log_request: Callable[..., ExportLogsServiceRequest],
) -> None:
    """Nothing new: the same object. A span again, an event, another trace of the run or its lineage: all is read."""
    assert receiver.state is not None
    url = f"{receiver.state.http_url}/v1"

    def export(path: str, request: ExportTraceServiceRequest | ExportLogsServiceRequest) -> None:
        content = request.SerializeToString()
        answer = httpx.post(f"{url}/{path}", content=content, headers=PROTOBUF, trust_env=False)
        assert answer.status_code == 200

    def with_root(
        request: ExportTraceServiceRequest, trace_id: bytes | None = None
    ) -> ExportTraceServiceRequest:
        for span in request.resource_spans[0].scope_spans[0].spans:
            span.attributes.add(key="agent.message.root_id").value.string_value = ROOT
            span.trace_id = trace_id or span.trace_id
        return request

    export("traces", with_root(trace_request(names=("root",), run_id=RUN)))
    source = StoreSource.open(data_dir)
    reader = RunReader(source, TRACE)
    for path, more in (
        ("traces", trace_request(names=("root",), run_id=RUN)),
        ("logs", log_request()),
        ("traces", with_root(trace_request(names=("torn",), run_id=RUN), bytes(15) + b"\1")),
        ("traces", with_root(trace_request(names=("without run id",), run_id=""), bytes(15) + b"\2")),
    ):
        before = reader.read()
        assert reader.read() is before
        export(path, more)
        after = reader.read()
        assert len(after.spans) + len(after.events) == len(before.spans) + len(before.events) + 1
    assert len(reader.read().trace_ids) == 3
    source.close()


def test_a_connection_that_is_closed_just_then_is_opened_again() -> None:
    """A server lets go of an idle connection at the moment of a request: the request is sent over a new one, once."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answers in (1, 1, 0):
                connection, _ = server.accept()
                with connection:
                    for _ in range(answers):
                        connection.recv(4096)
                        connection.sendall(answer)
                    connection.recv(4096)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            assert request(client, "GET", "/").text == "ok"
            assert request(client, "GET", "/").text == "ok"
            with pytest.raises(httpx.RemoteProtocolError):
                request(client, "GET", "/")
        serving.join(10)


def test_a_question_that_is_none_is_refused(receiver: Receiver) -> None:
    """Whatever is sent for the names of a run: the answer says what is wanted, and the server goes on."""
    assert receiver.state is not None
    url = f"{receiver.state.http_url}/api/handrail/v1/size"
    headers = {"Authorization": f"Bearer {receiver.state.token}"}
    for body in (
        b"",
        b"{",
        b"[]",
        b'{"trace_ids": 1}',
        b'{"trace_ids": ["x"], "run_ids": [], "root_ids": []}',
    ):
        answer = httpx.post(url, content=body, headers=headers, trust_env=False)
        assert answer.status_code == 400
        assert "object of lists" in answer.text
        for asked in ("runs", "roots"):
            other = httpx.post(url.replace("size", asked), content=body, headers=headers, trust_env=False)
            assert other.status_code == 400
    for asked in ("size", "runs", "roots"):
        other = httpx.post(url.replace("size", asked), content=b'"a"', trust_env=False)
        assert other.status_code == 401
