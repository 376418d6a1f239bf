"""The index: reads back exactly what was exported, can be built anew at any time, and survives any input."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness.errors import StackError
from handrail_harness.otlp import events_of, spans_of
from handrail_harness.store import segments
from handrail_harness.store.base import Damage, Encoding, Kind, Position, Record
from handrail_harness.store.index import SQLiteIndex
from handrail_harness.store.location import DirectoryLock, ServerState, StoreBusy, default_data_dir
from handrail_harness.store.store import Store
from handrail_propagation.otlp.json import to_json_document

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "ffffffffffffffffffffffffffffffff"
MakeTraces = Callable[..., ExportTraceServiceRequest]
MakeLogs = Callable[..., ExportLogsServiceRequest]


@pytest.fixture
def lines() -> list[str]:
    """What the store told a person."""
    return []


@pytest.fixture
def opened(tmp_path: Path, lines: list[str]) -> Iterator[Callable[[], Store]]:
    """Open the store of this test, as often as wanted: one that was opened before is closed first."""
    stores: list[Store] = []

    def reopen() -> Store:
        while stores:
            stores.pop().close()
        stores.append(Store(tmp_path / "data", lines.append))
        return stores[-1]

    yield reopen
    while stores:
        stores.pop().close()


def keep(store: Store, *requests: ExportTraceServiceRequest | ExportLogsServiceRequest) -> None:
    for request in requests:
        kind = Kind.TRACES if isinstance(request, ExportTraceServiceRequest) else Kind.LOGS
        store.append(kind, Encoding.PROTOBUF, request.SerializeToString()).result(5)
    assert store.wait_indexed(5)


def record(payload: bytes, number: int = 1, kind: Kind = Kind.TRACES) -> Record:
    return Record(kind, Encoding.PROTOBUF, number, 0, payload, Position(1, number), Position(1, number + 1))


def test_spans_and_events_come_back_as_exported(
    opened: Callable[[], Store], trace_request: MakeTraces, log_request: MakeLogs
) -> None:
    """Attributes, links, events, status, resource, scope and order: nothing differs from what was sent."""
    request = trace_request(names=("root", "a", "b"))
    span = request.resource_spans[0].scope_spans[0].spans[1]
    span.links.add(trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\2")
    span.events.add(name="said", time_unix_nano=5).attributes.add(key="n").value.int_value = -3
    span.attributes.add(key="list").value.array_value.values.add(string_value="x")
    span.status.code = 2
    span.trace_state = "vendor=1"
    span.flags = 0x301
    request.resource_spans[0].schema_url = "https://example.org/1"
    other = trace_request(names=("elsewhere",), service="other")
    store = opened()
    keep(store, request, other, log_request(names=("one", "two")))
    sent = [*spans_of(request), *spans_of(other)]
    assert store.index.spans(TRACE) == sent
    assert store.index.trace_request(TRACE).resource_spans[0] == request.resource_spans[0]
    assert store.index.events(TRACE) == list(events_of(log_request(names=("one", "two"))))
    assert store.index.spans(OTHER) == []
    assert store.index.spans("not hex") == []
    assert store.index.events(OTHER) == []


def test_json_exports_are_indexed_alike(opened: Callable[[], Store], trace_request: MakeTraces) -> None:
    """An export in OTLP/JSON reads back the same as its protobuf twin."""
    request = trace_request(names=("root", "child"), run_id="run-1")
    store = opened()
    body = json.dumps(to_json_document(request)).encode()
    store.append(Kind.TRACES, Encoding.JSON, body).result(5)
    assert store.wait_indexed(5)
    assert store.index.spans(TRACE) == list(spans_of(request))


def test_duplicates_stay(opened: Callable[[], Store], trace_request: MakeTraces) -> None:
    """What was exported twice is there twice (DESIGN D2): a reader must be able to see the duplicate."""
    request = trace_request(names=("root", "child"))
    store = opened()
    keep(store, request, request)
    assert store.index.spans(TRACE) == list(spans_of(request)) * 2
    assert store.index.traces()[0].spans == 4


def test_reopening_adds_nothing_twice(opened: Callable[[], Store], trace_request: MakeTraces) -> None:
    """The index knows how far it is: opening it again indexes only what is new."""
    keep(opened(), trace_request(names=("a", "b")))
    store = opened()
    keep(store, trace_request(names=("c",)))
    assert [span.name for span in opened().index.spans(TRACE)] == ["a", "b", "c"]


def test_a_deleted_index_is_built_anew(
    opened: Callable[[], Store], trace_request: MakeTraces, log_request: MakeLogs, tmp_path: Path
) -> None:
    """The raw log is the truth: without the index nothing is lost but the time to build it."""
    store = opened()
    keep(store, trace_request(names=("a", "b"), run_id="r"), log_request(), trace_request(OTHER, ("c",)))
    before = store.index.spans(TRACE), store.index.events(TRACE), store.index.traces(), store.status()
    store.close()
    for file in (tmp_path / "data").glob("index.sqlite*"):
        file.unlink()
    store = opened()
    assert store.wait_indexed(5)
    after = store.index.spans(TRACE), store.index.events(TRACE), store.index.traces(), store.status()
    assert after == before


@pytest.mark.parametrize("kind", ["garbage", "another version", "truncated"])
def test_an_unusable_index_is_moved_aside_and_built_anew(
    kind: str, opened: Callable[[], Store], trace_request: MakeTraces, tmp_path: Path, lines: list[str]
) -> None:
    """A broken or outdated index costs a message, never data; the old file is kept."""
    store = opened()
    keep(store, trace_request(names=("a", "b")))
    store.close()
    path = tmp_path / "data" / "index.sqlite"
    if kind == "garbage":
        path.write_bytes(b"no database at all" * 1000)
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    store = opened()
    assert store.wait_indexed(5)
    assert [span.name for span in store.index.spans(TRACE)] == ["a", "b"]
    assert len(list((tmp_path / "data").glob("index.sqlite.unusable-*"))) == 1
    assert [line for line in lines if "built anew" in line]


def test_an_index_that_breaks_while_in_use_is_built_anew(
    opened: Callable[[], Store],
    trace_request: MakeTraces,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Corruption that shows up at run time does not stop the store either."""
    store = opened()
    keep(store, trace_request(names=("a",)))
    broken = [sqlite3.DatabaseError("database disk image is malformed")]
    insert = SQLiteIndex.insert

    def insert_once_broken(index: SQLiteIndex, items: list[Record | Damage]) -> None:
        if broken:
            raise broken.pop()
        insert(index, items)

    monkeypatch.setattr(SQLiteIndex, "insert", insert_once_broken)
    keep(store, trace_request(names=("b",)))
    assert [span.name for span in store.index.spans(TRACE)] == ["a", "b"]
    assert [line for line in lines if "built anew from the raw log" in line]


def test_a_failed_batch_leaves_no_trace(
    tmp_path: Path, trace_request: MakeTraces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and position are one transaction: what failed half way is indexed once when it is tried again."""
    index = SQLiteIndex(tmp_path / "index.sqlite")
    items = [record(trace_request(names=("a", "b"), run_id="r").SerializeToString())]

    def full(damages: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(index, "_insert_damages", full)
        with pytest.raises(sqlite3.OperationalError):
            index.insert(items)
    assert index.position < items[0].next
    assert index.spans(TRACE) == []
    index.insert(items)
    assert len(index.spans(TRACE)) == 2
    assert index.position == items[0].next
    index.close()


def test_runs_and_summaries(opened: Callable[[], Store], trace_request: MakeTraces) -> None:
    """A run is found in every trace it has spans in; a list of traces is newest first and names the root."""
    store = opened()
    keep(
        store,
        trace_request(names=("root", "child"), run_id="run-1", start=1000),
        trace_request(OTHER, ("lost branch",), run_id="run-1", start=2000),
        trace_request(TRACE, ("late root",), start=900),
    )
    assert store.index.traces_of_run("run-1") == [TRACE, OTHER]
    assert store.index.traces_of_run("run-2") == []
    assert store.index.traces_of_root("task-1") == []
    newest, oldest = store.index.traces()
    assert (newest.trace_id, newest.root_name, newest.spans) == (OTHER, "lost branch", 1)
    assert (oldest.trace_id, oldest.root_name, oldest.run_id, oldest.spans) == (
        TRACE,
        "late root",
        "run-1",
        3,
    )
    assert (oldest.start_unix_nano, oldest.end_unix_nano) == (900, 1_001_000)
    assert store.index.traces(1) == [newest]


def test_a_trace_without_root_names_none(opened: Callable[[], Store], trace_request: MakeTraces) -> None:
    """Orphans do not become roots in the list either."""
    request = trace_request(names=("root", "orphan"))
    del request.resource_spans[0].scope_spans[0].spans[0]
    store = opened()
    keep(store, request)
    assert store.index.traces()[0].root_name == ""


def test_extreme_values_do_not_stop_the_index(opened: Callable[[], Store], trace_request: MakeTraces) -> None:
    """Times beyond SQLite's integers, empty and overlong ids and NUL characters are kept as they are."""
    request = trace_request(names=("end of time", ""))
    first, second = request.resource_spans[0].scope_spans[0].spans
    first.start_time_unix_nano = first.end_time_unix_nano = 2**64 - 1
    second.trace_id = b""
    second.span_id = b"x" * 300
    second.name = "nul \0 and \ud7ff"
    store = opened()
    keep(store, request, trace_request(OTHER, ("after",)))
    assert store.index.spans(TRACE)[0].end_unix_nano == 2**64 - 1
    assert [span.name for span in store.index.spans("")] == [second.name]
    assert len(store.index.spans(OTHER)) == 1


def test_damage_is_skipped_counted_and_told(
    opened: Callable[[], Store], trace_request: MakeTraces, tmp_path: Path, lines: list[str]
) -> None:
    """A flipped bit in the raw log costs its record; the place is reported once and stays in the status."""
    store = opened()
    keep(store, *(trace_request(names=(name,)) for name in ("a", "b", "c")))
    store.close()
    raw = tmp_path / "data" / "raw"
    _, second, _ = segments.read(raw)
    segment = segments.path_of(raw, 1)
    content = bytearray(segment.read_bytes())
    content[second.at.offset + 50] ^= 4
    segment.write_bytes(content)
    (tmp_path / "data" / "index.sqlite").unlink()
    store = opened()
    assert store.wait_indexed(5)
    assert [span.name for span in store.index.spans(TRACE)] == ["a", "c"]
    place = f"segment 1, byte {second.at.offset}: damaged record"
    assert [line for line in lines if place in line]
    assert [line for line in store.status()["damaged"] if place in line]
    assert len(opened().status()["damaged"]) == 1


def test_a_record_that_is_no_otlp_is_damage(tmp_path: Path, trace_request: MakeTraces) -> None:
    """A whole record that cannot be decoded, or of an unknown kind, is skipped and counted."""
    index = SQLiteIndex(tmp_path / "index.sqlite")
    good = trace_request().SerializeToString()
    unknown = Record(9, 0, 2, 0, b"", Position(1, 2), Position(1, 3))
    index.insert([record(b"\xff\xff\xff", 1), unknown, record(good, 3)])
    assert [damage.reason for damage in index.damages()] == ["unreadable", "unreadable"]
    assert len(index.spans(TRACE)) == 1
    index.insert([])
    index.insert([Damage("header", Position(1, 4), 10, Position(1, 14))])
    assert index.position == Position(1, 14)
    index.close()


def test_metrics_are_kept_and_not_indexed(opened: Callable[[], Store]) -> None:
    """Metrics go to the raw log; the index moves on behind them."""
    store = opened()
    store.append(Kind.METRICS, Encoding.PROTOBUF, b"").result(5)
    assert store.wait_indexed(5)
    assert store.status()["damaged"] == []


def test_one_process_has_the_directory(opened: Callable[[], Store], tmp_path: Path) -> None:
    """A second store on the same directory is refused, naming the process; the first goes on."""
    opened()
    lock = DirectoryLock(tmp_path / "data")
    assert lock.is_held()
    with pytest.raises(StoreBusy, match=f"process {os.getpid()}"):
        lock.acquire(timeout=0)


def test_unusable_directory_is_one_line(tmp_path: Path) -> None:
    """A data directory that is a file is a StackError that names it and the setting."""
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StackError, match="HANDRAIL_DATA_DIR"):
        Store(tmp_path / "data", lambda line: None)


def test_data_directory_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """HANDRAIL_DATA_DIR decides; without it the folder is the platform's own for user data."""
    monkeypatch.setenv("HANDRAIL_DATA_DIR", str(tmp_path))
    assert default_data_dir() == tmp_path
    monkeypatch.delenv("HANDRAIL_DATA_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir().name == "handrail"


def test_server_state_is_private_and_strict(tmp_path: Path) -> None:
    """The state file holds a token: 0600; anything that is not such a file counts as none."""
    state = ServerState(1, "http://127.0.0.1:1", "127.0.0.1:2", "secret")
    state.write(tmp_path)
    assert stat.S_IMODE((tmp_path / "server.json").stat().st_mode) == 0o600
    assert ServerState.read(tmp_path) == state
    for content in ("", "[]", '{"pid": 1}', '{"http_url": 1}', "\x00"):
        (tmp_path / "server.json").write_text(content)
        assert ServerState.read(tmp_path) is None
    ServerState.remove(tmp_path)
    ServerState.remove(tmp_path)
    assert ServerState.read(tmp_path) is None


def test_index_files_are_private(
    opened: Callable[[], Store], trace_request: MakeTraces, tmp_path: Path
) -> None:
    """The index holds the same spans as the raw log: its files are 0600, too."""
    keep(opened(), trace_request())
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "data").glob("index.sqlite*")}
    assert modes == {0o600}


def test_lineage(opened: Callable[[], Store], trace_request: MakeTraces) -> None:
    """Traces that share Celery's root id are found by it, whatever their run ids; oldest first."""
    store = opened()
    for trace_id, root_id in ((TRACE, "task-1"), (OTHER, "task-1"), (OTHER, "task-2")):
        request = trace_request(trace_id, (root_id,))
        span = request.resource_spans[0].scope_spans[0].spans[0]
        span.attributes.add(key="agent.message.root_id").value.string_value = root_id
        keep(store, request)
    assert store.index.traces_of_root("task-1") == [TRACE, OTHER]
    assert store.index.traces_of_root("task-2") == [OTHER]
