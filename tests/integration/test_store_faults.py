"""A receiver that is killed, starved of disk or restarted: what it acknowledged can be read afterwards."""

from __future__ import annotations

import itertools
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness.sources.store import StoreSource
from handrail_harness.stack.process import Child
from handrail_harness.store.location import ServerState

pytestmark = pytest.mark.integration

PROTOBUF = {"content-type": "application/x-protobuf"}
GRPC_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MakeTraces = Callable[..., ExportTraceServiceRequest]


class Server:
    """`handrail serve` as a process of its own on one data directory, as often as it is started."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.data_dir.mkdir()
        self.child: Child | None = None
        self.state = ServerState(0, "", "", "")

    def start(self) -> None:
        (self.data_dir / "server.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "handrail_harness.receiver", "--data-dir", str(self.data_dir)]
        self.child = Child(command, log_path=self.data_dir.parent / "server.log")
        self.child.wait_until(
            lambda: ServerState.read(self.data_dir) is not None, what="the receiver", timeout=60
        )
        state = ServerState.read(self.data_dir)
        assert state is not None
        self.state = state

    def stop(self) -> None:
        if self.child:
            self.child.close()

    def log(self) -> str:
        return self.child.log() if self.child else ""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "data")
    yield made
    made.stop()


def exporters(server: Server, make: MakeTraces, acknowledged: list[str]) -> list[threading.Thread]:
    """Export one-span traces, over HTTP and gRPC, until the server is gone; note what it acknowledged."""
    numbers = itertools.count()
    lock = threading.Lock()

    def request() -> tuple[str, bytes]:
        with lock:
            number = next(numbers)
            trace_id = f"{random.getrandbits(64):016x}{number + 1:016x}"
            return trace_id, make(trace_id, (f"span {number}",)).SerializeToString()

    def over_http() -> None:
        with httpx.Client(base_url=server.state.http_url, trust_env=False, timeout=60) as client:
            while True:
                trace_id, body = request()
                try:
                    answer = client.post("/v1/traces", content=body, headers=PROTOBUF)
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    acknowledged.append(trace_id)

    def over_grpc() -> None:
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(server.state.grpc_endpoint, options=options) as channel:
            export = channel.unary_unary(GRPC_EXPORT)
            while True:
                trace_id, body = request()
                try:
                    export(body, timeout=60)
                except grpc.RpcError:
                    return
                acknowledged.append(trace_id)

    threads = [threading.Thread(target=target) for target in (over_http, over_http, over_grpc, over_grpc)]
    for thread in threads:
        thread.start()
    return threads


def test_sigkill_loses_nothing_that_was_acknowledged(server: Server, trace_request: MakeTraces) -> None:
    """Five SIGKILLs under concurrent exports: every acknowledged span is there afterwards, once."""
    acknowledged: list[str] = []
    for kill in range(5):
        server.start()
        before = len(acknowledged)
        threads = exporters(server, trace_request, acknowledged)
        enough = before + 40 * (kill + 1)
        deadline = time.monotonic() + 60
        while len(acknowledged) < enough:
            assert time.monotonic() < deadline, server.log()
            time.sleep(0.005)
        os.kill(server.state.pid, signal.SIGKILL)
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        server.stop()
    assert len(acknowledged) >= 600
    server.start()
    source = StoreSource.open(server.data_dir)
    try:
        counts = {summary.trace_id: summary.spans for summary in source.traces(10_000)}
        missing = [trace_id for trace_id in acknowledged if counts.get(trace_id) != 1]
        assert not missing
        assert source.status()["damaged"] == []
        assert len(source.spans(acknowledged[-1])) == 1
    finally:
        source.close()


def test_full_disk_is_refused_and_survived(server: Server, trace_request: MakeTraces) -> None:
    """While nothing can be written exports are answered 503; when it can again, the same server goes on."""
    server.start()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    traces = [f"{number:032x}" for number in range(1, 4)]
    with httpx.Client(base_url=server.state.http_url, trust_env=False, timeout=60) as client:

        def export(trace_id: str) -> int:
            body = trace_request(trace_id).SerializeToString()
            return client.post("/v1/traces", content=body, headers=PROTOBUF).status_code

        assert export(traces[0]) == 200
        source = StoreSource.open(server.data_dir)
        assert len(source.spans(traces[0])) == 1
        resource.prlimit(server.state.pid, resource.RLIMIT_FSIZE, (0, hard))
        assert [export(traces[1]) for _ in range(3)] == [503, 503, 503]
        assert source.status()["errors"]
        assert len(source.spans(traces[0])) == 1
        resource.prlimit(server.state.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert export(traces[2]) == 200
        assert [len(source.spans(trace_id)) for trace_id in traces] == [1, 0, 1]
        assert source.status()["errors"] == []
        source.close()
    server.stop()
    server.start()
    source = StoreSource.open(server.data_dir)
    assert [len(source.spans(trace_id)) for trace_id in traces] == [1, 0, 1]
    assert source.status()["damaged"] == []
    source.close()


def test_torn_tail_is_cut_off_and_told(server: Server, trace_request: MakeTraces) -> None:
    """Half a record at the end of the log, as a power cut leaves it, is set aside with a message."""
    server.start()
    body = trace_request("1" * 32).SerializeToString()
    httpx.post(f"{server.state.http_url}/v1/traces", content=body, headers=PROTOBUF, trust_env=False)
    server.stop()
    (segment,) = (server.data_dir / "raw").glob("*.seg")
    whole = segment.read_bytes()
    segment.write_bytes(whole + whole[:30])
    server.start()
    assert "raw log repaired" in server.log()
    source = StoreSource.open(server.data_dir)
    assert len(source.spans("1" * 32)) == 1
    status = source.status()
    source.close()
    assert len(status["damaged"]) == len(status["quarantined_files"]) == 1
    assert segment.read_bytes() == whole


def test_second_server_is_refused(server: Server) -> None:
    """One process per data directory: a second one says who has it, and ends with status 2."""
    server.start()
    second = Child(
        list(server.child.command) if server.child else [], log_path=server.data_dir.parent / "second"
    )
    assert second.wait(60)
    assert second.exit_status == 2
    assert f"in use by process {server.state.pid}" in second.log()
    assert "Traceback" not in second.log()
    second.close()


def test_clean_stop_is_status_zero(server: Server) -> None:
    """SIGTERM and SIGINT end the server with status 0, its state file gone, no error printed."""
    for number in (signal.SIGTERM, signal.SIGINT):
        server.start()
        assert server.child is not None
        server.child.send_signal(number)
        assert server.child.wait(60)
        assert server.child.exit_status == 0
        assert server.log() == ""
        assert not (server.data_dir / "server.json").exists()
        server.stop()
