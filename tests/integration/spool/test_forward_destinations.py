"""The forwarder meets real destinations, over HTTP and gRPC, and some that misbehave; and the command line runs it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from handrail_harness.faults import FaultProxy, FaultyDestination
from handrail_harness.faults.behaviour import (
    ACCEPT,
    GARBAGE,
    HANG_UP,
    PARTIAL,
    THROTTLE,
    TWICE,
    UNAVAILABLE,
    Behaviour,
)
from handrail_harness.faults.grpc_destination import FaultyGrpcDestination
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_propagation import ConfigurationError
from handrail_propagation import conventions as names
from handrail_propagation.config import Config
from handrail_propagation.forward.destination import destinations, from_url
from handrail_propagation.forward.forwarder import Forwarder
from handrail_propagation.forward.outcome import Later
from handrail_propagation.forward.wire import Signal
from handrail_propagation.spool.accounting import account
from handrail_propagation.spool.identity import Identity
from handrail_propagation.spool.rebuilt import load_all
from handrail_propagation.spool.record import Kind
from handrail_propagation.spool.writer import Writer

from ...support.waiting import wait_for
from .conftest import PATIENCE

pytestmark = pytest.mark.integration


def record(folder: Path, count: int, name: str = "span") -> bytes:
    """Let a writer that is gone have recorded that many spans and events of one trace; return the trace id."""
    trace_id = secrets.token_bytes(16)
    writer = Writer(folder, Identity(pid=1, boot_id="another").encode())
    origin = ResourceSpans().SerializeToString()
    for number in range(count):
        span_id = secrets.token_bytes(8)
        now = time.time_ns()
        span = Span(trace_id=trace_id, span_id=span_id, name=f"{name} {number}", start_time_unix_nano=now)
        writer.append(Kind.SPAN_START, span.SerializeToString(), origin=origin)
        event = LogRecord(
            trace_id=trace_id, span_id=span_id, event_name=names.EVENT_DECISION, time_unix_nano=now
        )
        writer.append(Kind.LOG, event.SerializeToString(), origin=origin)
        span.end_time_unix_nano = time.time_ns()
        writer.append(Kind.SPAN_END, span.SerializeToString(), origin=origin)
    writer.close()
    return trace_id


def deliver(folder: Path, *urls: str) -> None:
    """Forward until nothing is left."""
    forwarder = Forwarder(folder, [from_url(url, Config()) for url in urls])
    forwarder.start(once=True)
    deadline = time.monotonic() + PATIENCE
    while forwarder.is_running:
        assert time.monotonic() < deadline, [shipper.trouble for shipper in forwarder.shippers]
        time.sleep(0.01)
    forwarder.stop()


@pytest.fixture
def misbehaving() -> Iterator[FaultyDestination]:
    """A destination that works until it is told otherwise."""
    with FaultyDestination() as running:
        yield running


@pytest.mark.parametrize(
    "first", [THROTTLE, UNAVAILABLE, GARBAGE, HANG_UP, TWICE, Behaviour(takes=False, status=401)]
)
def test_what_is_not_taken_is_sent_again(
    misbehaving: FaultyDestination, tmp_path: Path, first: Behaviour
) -> None:
    """429 with Retry-After, 503, a page of HTML, no answer, a lie, wrong credentials: everything arrives after all."""
    record(tmp_path, 3)
    misbehaving.then(first)
    began = time.monotonic()
    deliver(tmp_path, misbehaving.endpoint)
    assert {span.name for span in misbehaving.spans} == {"span 0", "span 1", "span 2"}
    copies = {str(span.attributes[names.RECORD_ID]) for span in misbehaving.spans}
    assert len(copies) == 3
    assert len(misbehaving.events) == 3
    if first is THROTTLE:
        assert time.monotonic() - began >= float(THROTTLE.retry_after)
    total = account(tmp_path).total
    assert (total.delivered, total.pending, total.quarantined) == (total.recorded, 0, 0)


def test_a_partial_success_costs_what_it_says(misbehaving: FaultyDestination, tmp_path: Path) -> None:
    """A rejected span is quarantined, the others are delivered, and nothing is sent again."""
    record(tmp_path, 3)
    misbehaving.then(PARTIAL)
    deliver(tmp_path, misbehaving.endpoint)
    assert len(misbehaving.spans) == 2
    total = account(tmp_path).total
    assert (total.quarantined, total.pending) == (1, 0)
    assert total.is_exact


def test_requests_that_grpc_does_not_let_in_are_halved(tmp_path: Path) -> None:
    """A limit below one request of ours costs requests and no records, but for one that is too large by itself."""
    record(tmp_path, 20)
    record(tmp_path, 1, name="x" * 5000)
    with FaultyGrpcDestination(max_bytes=1000) as small:
        deliver(tmp_path, small.endpoint)
        assert small.requests > 2
        assert {span.name for span in small.spans} == {f"span {number}" for number in range(20)}
        assert len(small.events) == 21
    total = account(tmp_path).total
    assert total.is_exact
    assert (total.quarantined, total.pending) == (1, 0)


def test_a_destination_over_grpc_that_takes_no_logs(tmp_path: Path) -> None:
    """UNIMPLEMENTED for logs alone, as Jaeger says: spans arrive, records of logs are counted, and nothing waits."""

    class Spans(FaultyGrpcDestination):
        def behave(self, path: str, body: bytes) -> Behaviour:
            return ACCEPT if path.endswith("/v1/traces") else replace(UNAVAILABLE, status=404)

    record(tmp_path, 3)
    with Spans() as destination:
        deliver(tmp_path, destination.endpoint)
        assert len(destination.spans) == 3
        assert destination.events == []
    assert [ledger.declined for ledger in load_all(tmp_path)] == [3]
    total = account(tmp_path).total
    assert total.is_exact
    assert (total.quarantined, total.pending) == (0, 0)


def test_a_connection_over_grpc_that_breaks_before_the_answer(tmp_path: Path) -> None:
    """What was kept and not acknowledged comes again, over a new connection, under the same record ids."""
    record(tmp_path, 3)
    with FaultyGrpcDestination() as destination, FaultProxy(destination.endpoint) as proxy:
        destination.then(Behaviour(delay=float("inf")))
        forwarder = Forwarder(tmp_path, [from_url(proxy.url, Config())])
        forwarder.start(once=True)
        destination.wait_for(lambda spans: bool(spans), timeout=PATIENCE)
        assert proxy.reset() == 1
        destination.wait_for(lambda spans: len(spans) == 6, timeout=PATIENCE)
        while forwarder.is_running:
            time.sleep(0.01)
        forwarder.stop()
        assert len(destination.spans) == 6
        assert len({str(span.attributes[names.RECORD_ID]) for span in destination.spans}) == 3
    total = account(tmp_path).total
    assert (total.delivered, total.pending, total.quarantined) == (total.recorded, 0, 0)


@pytest.mark.parametrize(
    "variable", ["OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"]
)
@pytest.mark.parametrize("destination", [FaultyDestination, FaultyGrpcDestination])
def test_requests_are_compressed(
    destination: type[FaultyDestination | FaultyGrpcDestination],
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through a network that breaks after 30 kB, 100 kB of text arrive with `gzip`, and do not without.

    What is said for spans alone goes before what is said for all signals.
    """
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    record(tmp_path, 100, name="x" * 1000)
    with destination() as far, FaultProxy(far.endpoint) as proxy:
        proxy.set(cut_requests_after=30_000)
        monkeypatch.setenv(variable, "none")
        plain = Forwarder(tmp_path, [from_url(proxy.url, Config())])
        plain.start(once=True)
        wait_for(lambda: any(shipper.trouble for shipper in plain.shippers), "a broken connection")
        plain.stop()
        assert far.spans == []
        monkeypatch.setenv(variable, "gzip")
        deliver(tmp_path, proxy.url)
        assert len(far.spans) == len(far.events) == 100
    total = account(tmp_path).total
    assert (total.delivered, total.pending) == (total.recorded, 0)


def test_two_destinations_over_two_transports(
    stack: EmbeddedStack, misbehaving: FaultyDestination, tmp_path: Path
) -> None:
    """The embedded receiver over gRPC and another one over HTTP both get everything; copies are stored once."""
    trace_id = record(tmp_path, 5).hex()
    kept = tmp_path.with_name("again")
    shutil.copytree(tmp_path, kept)
    deliver(tmp_path, f"grpc://{stack.grpc_endpoint}", misbehaving.endpoint)
    assert len(misbehaving.spans) == len(misbehaving.events) == 5
    with closing(stack.source()) as source:
        assert len(source.spans(trace_id)) == len(source.events(trace_id)) == 5
    deliver(kept, stack.otlp_endpoint)  # as after a kill between the acknowledgement and the ledger
    with closing(stack.source()) as source:
        assert len(source.spans(trace_id)) == len(source.events(trace_id)) == 5


def test_the_settings_name_the_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry's variables name one destination, ours several; credentials in a URL are not kept."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@collector:4318/base")
    assert [each.name for each in destinations(Config.from_environment())] == ["http://collector:4318/base"]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    (over_grpc,) = destinations(Config.from_environment())
    assert over_grpc.name == "grpc://127.0.0.1:4317"
    over_grpc.transport.close()
    monkeypatch.setenv("HANDRAIL_FORWARD_TO", "http://one:4318/, https://two")
    assert [each.name for each in destinations(Config.from_environment())] == [
        "http://one:4318",
        "https://two",
    ]


def test_settings_that_lead_nowhere_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint without a scheme, as gRPC would take it, is said at start, not waited for."""
    for endpoint in ("localhost:4318", "htp://there", "http://:4318", "http://there:99999"):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
            destinations(Config.from_environment())


def test_what_forwarding_waits_for_is_said_in_plain_words(tmp_path: Path) -> None:
    """A port that nobody listens on is a refused connection, not the layers of a library that have given up for it."""
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        transport = from_url(endpoint, Config.from_environment()).transport
        outcome = transport.send(Signal.TRACES, b"")
        transport.close()
    assert isinstance(outcome, Later)
    assert outcome.reason == f"{endpoint}/v1/traces: ConnectionRefusedError: [Errno 111] Connection refused"


def test_a_folder_that_others_may_write_into_is_not_forwarded(tmp_path: Path) -> None:
    """As workers refuse it: whoever can write there could send anything in this system's name."""
    tmp_path.chmod(0o777)
    command = _command(str(tmp_path), "--to", "http://127.0.0.1:1", "--once")
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 2
    assert "chmod 700" in " ".join(run.stderr.split())
    assert not list(tmp_path.iterdir())


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "handrail_harness.cli", "forward", *arguments]


def test_the_command_delivers_once_and_says_so(misbehaving: FaultyDestination, tmp_path: Path) -> None:
    """`handrail forward DIR --to URL --once --json` delivers everything and prints the account; exit status 0."""
    record(tmp_path, 4)
    run = subprocess.run(
        _command(str(tmp_path), "--to", misbehaving.endpoint, "--once", "--json"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)["total"]
    assert found["pending"] == 0
    assert found["delivered"] == found["recorded"] > 8
    assert len(misbehaving.spans) == 4


def test_the_command_runs_until_it_is_stopped(misbehaving: FaultyDestination, tmp_path: Path) -> None:
    """Without --once it goes on with what comes later; a second one is refused; Ctrl-C ends it with status 0."""
    record(tmp_path, 1)
    running = subprocess.Popen(
        _command(str(tmp_path), "--to", misbehaving.endpoint), stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not misbehaving.spans and time.monotonic() < deadline:
            time.sleep(0.02)
        record(tmp_path, 1)
        second = subprocess.run(
            _command(str(tmp_path), "--to", misbehaving.endpoint, "--once"),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert second.returncode == 2
        assert "another process forwards" in second.stderr
        while len(misbehaving.spans) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(misbehaving.spans) == 2
        os.kill(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=60)
        assert running.returncode == 0, said
        assert "records delivered" in said
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/no/such/folder", "--to", "http://127.0.0.1:1", "--once"], "cannot be forwarded"),
        ([".", "--to", "ftp://there"], "is no destination"),
        ([".", "--to", "http://there:port"], "is no destination"),
        ([".", "--to", "grpc://:4317"], "is no destination"),
        ([".", "--to", "http://[::1"], "is no destination"),
        ([".", "--to", "http://there:1", "--to", "http://there:1/"], "named twice"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], said: str) -> None:
    """A folder that is not there and a URL of another kind: exit status 2 and one line."""
    run = subprocess.run(_command(*arguments), capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 2
    assert said in " ".join(run.stderr.split())
    assert "Traceback" not in run.stderr
