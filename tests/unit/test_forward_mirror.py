"""The mirror: OTLP/JSON lines in files that a Collector can follow, whatever happens to the writer."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness.otlp import parse_json
from handrail_propagation.config import Config
from handrail_propagation.forward.destination import from_url
from handrail_propagation.forward.mirror import MirrorTransport
from handrail_propagation.forward.outcome import Accepted, Later, Refused
from handrail_propagation.forward.wire import Signal
from handrail_propagation.spool.files import Files


def traces(name: str = "span", size: int = 0) -> ExportTraceServiceRequest:
    """A request with one span."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name=name + "x" * size, kind=3)
    span.trace_id, span.span_id = b"\x01" * 16, b"\xab" * 8
    span.start_time_unix_nano = 1_700_000_000_000_000_001
    return request


def lines(folder: Path, pattern: str = "*") -> list[bytes]:
    """All lines of the files, in order."""
    paths = sorted(folder.glob(pattern), key=lambda path: path.stem.rpartition("-")[2])
    return [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]


def test_a_batch_is_a_line_of_otlp_json(tmp_path: Path) -> None:
    """What was sent can be read back from the lines, each signal from files of its own that only the owner may read."""
    folder = tmp_path / "mirror"
    mirror = MirrorTransport(folder)
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(event_name="agent.decision")
    assert mirror.send(Signal.TRACES, traces("one").SerializeToString()) == Accepted()
    assert mirror.send(Signal.TRACES, traces("two").SerializeToString()) == Accepted()
    assert mirror.send(Signal.LOGS, logs.SerializeToString()) == Accepted()
    mirror.close()
    read = [parse_json(line, ExportTraceServiceRequest) for line in lines(folder, "traces-*.jsonl")]
    assert read == [traces("one"), traces("two")]
    assert [parse_json(line, ExportLogsServiceRequest) for line in lines(folder, "logs-*.jsonl")] == [logs]
    assert b'"traceId":"01010101' in lines(folder, "traces-*.jsonl")[0]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_no_two_files_begin_alike(tmp_path: Path) -> None:
    """Files with the same batches differ within their first bytes: a Collector would take them for one file."""
    for _ in range(3):
        mirror = MirrorTransport(tmp_path)
        mirror.send(Signal.TRACES, traces().SerializeToString())
        mirror.close()
    beginnings = {path.read_bytes()[:64] for path in tmp_path.iterdir()}
    assert len(beginnings) == 3


def test_a_full_file_is_left_and_the_oldest_are_deleted(tmp_path: Path) -> None:
    """Rotation makes a new file and never touches an old one; together they stay below what is kept."""
    mirror = MirrorTransport(tmp_path, file_size=10_000, kept=50_000)
    for number in range(60):
        assert mirror.send(Signal.TRACES, traces(f"{number:03d}", 2000).SerializeToString()) == Accepted()
    mirror.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 60_000
    kept = [
        parse_json(line, ExportTraceServiceRequest).resource_spans[0].scope_spans[0].spans[0].name[:3]
        for line in lines(tmp_path)
    ]
    assert kept == [f"{number:03d}" for number in range(60 - len(kept), 60)]
    assert len(kept) > 15


class Full(Files):
    """A disk that takes half of one line."""

    def __init__(self) -> None:
        self.full = True

    def write(self, descriptor: int, data: bytes) -> int:
        if self.full:
            self.full = False
            return super().write(descriptor, data[: len(data) // 2])
        return super().write(descriptor, data)


def test_half_a_line_is_not_gone_on_with(tmp_path: Path) -> None:
    """A line that could only be written in part is not acknowledged, and comes again, whole, in another file."""
    mirror = MirrorTransport(tmp_path, files=Full())
    assert isinstance(mirror.send(Signal.TRACES, traces().SerializeToString()), Later)
    assert mirror.send(Signal.TRACES, traces().SerializeToString()) == Accepted()
    mirror.close()
    first, second = sorted(tmp_path.iterdir())
    assert not first.read_bytes().endswith(b"\n")
    assert parse_json(second.read_bytes(), ExportTraceServiceRequest) == traces()


def test_what_is_no_otlp_is_refused(tmp_path: Path) -> None:
    """Bytes that cannot be decoded never get better: they go into quarantine."""
    assert isinstance(MirrorTransport(tmp_path).send(Signal.TRACES, b"\xff\xff"), Refused)


def test_a_line_stays_below_a_collector_s_limit(tmp_path: Path) -> None:
    """A batch of the size that a mirror gets is a line of less than 1 MiB, also when it is all small attributes."""
    destination = from_url(f"file://{tmp_path}/mirror", Config())
    request = traces()
    span = request.resource_spans[0].scope_spans[0].spans[0]
    while request.ByteSize() < destination.max_bytes:
        for number in range(1000):
            span.attributes.add(key=f"k{number}").value.int_value = number
    assert destination.transport.send(Signal.TRACES, request.SerializeToString()) == Accepted()
    destination.transport.close()
    (line,) = lines(tmp_path / "mirror")
    assert len(line) < 1 << 20
    assert json.loads(line)


@pytest.mark.parametrize("what", ["deleted", "cut", "folder"])
def test_a_file_that_others_take_away_acknowledges_nothing(tmp_path: Path, what: str) -> None:
    """A cleaner, a log rotation, or somebody who begins anew: what is not there to be read is written once more."""
    folder = tmp_path / "mirror"
    mirror = MirrorTransport(folder)
    assert mirror.send(Signal.TRACES, traces("one").SerializeToString()) == Accepted()
    (path,) = folder.iterdir()
    if what == "cut":
        path.write_bytes(b"")
    else:
        path.unlink()
        if what == "folder":
            folder.rmdir()
    assert isinstance(mirror.send(Signal.TRACES, traces("two").SerializeToString()), Later)
    assert mirror.send(Signal.TRACES, traces("two").SerializeToString()) == Accepted()
    mirror.close()
    assert parse_json(lines(folder)[-1], ExportTraceServiceRequest) == traces("two")
    newest = max(folder.iterdir(), key=lambda each: each.name)
    assert b"two" in newest.read_bytes()
    assert b"handrail.file" in newest.read_bytes()[:20]
