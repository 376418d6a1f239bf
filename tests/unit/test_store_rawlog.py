"""The raw log: what is acknowledged is on disk, and damage costs what it hit and nothing else."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path

import pytest

from handrail_harness.store import rawlog, segments
from handrail_harness.store.base import START, Damage, Kind, Position, Record
from handrail_harness.store.frames import HEADER_SIZE
from handrail_harness.store.rawlog import LogUnavailable, RawLog

PAYLOADS = [b"first" * 9, b"second" * 7, b"third" * 8]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def log(folder: Path) -> Iterator[RawLog]:
    opened = opened_log(folder)
    yield opened
    opened.close()


def opened_log(folder: Path, **options: int) -> RawLog:
    return RawLog(folder, folder.parent / "quarantine", **options)


def filled(folder: Path, payloads: list[bytes] = PAYLOADS) -> Path:
    """Write the payloads into a log of their own, each acknowledged; return the segment's file."""
    log = opened_log(folder)
    for payload in payloads:
        log.append(Kind.TRACES, 0, payload).result(5)
    log.close()
    (number,) = segments.numbers(folder)
    return segments.path_of(folder, number)


def contents(folder: Path) -> tuple[list[bytes], list[Damage]]:
    items = list(segments.read(folder))
    return (
        [item.payload for item in items if isinstance(item, Record)],
        [item for item in items if isinstance(item, Damage)],
    )


def test_records_come_back_as_they_were(log: RawLog, folder: Path) -> None:
    """Kind, encoding, sequence and payload are read as they were appended, also an empty payload."""
    futures = [log.append(kind, kind % 2, bytes([kind]) * kind * 100) for kind in (1, 2, 3)]
    futures.append(log.append(1, 0, b""))
    assert [future.result(5) for future in futures] == [1, 2, 3, 4]
    records = [item for item in segments.read(folder) if isinstance(item, Record)]
    assert [(r.kind, r.encoding, r.sequence, len(r.payload)) for r in records] == [
        (1, 1, 1, 100),
        (2, 0, 2, 200),
        (3, 1, 3, 300),
        (1, 0, 4, 0),
    ]
    assert [record.next for record in records[:-1]] == [record.at for record in records[1:]]
    assert records[-1].next == log.synced


def test_reading_goes_on_where_it_stopped(log: RawLog, folder: Path) -> None:
    """From the place after a record on, exactly the later records are read, up to a given end."""
    for payload in PAYLOADS:
        log.append(1, 0, payload).result(5)
    first, second, _ = segments.read(folder)
    assert [
        item.payload for item in segments.read(folder, first.next) if isinstance(item, Record)
    ] == PAYLOADS[1:]
    between = list(segments.read(folder, first.next, second.next))
    assert [item.at for item in between] == [second.at]


def test_files_are_private(folder: Path) -> None:
    """Exports can hold what nobody else should read: segments are 0600, their folder 0700."""
    segment = filled(folder)
    assert stat.S_IMODE(segment.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_acknowledgement_waits_for_the_sync(
    log: RawLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export is not acknowledged while the disk has not confirmed it; later ones share the next sync."""
    entered, release, syncs = threading.Event(), threading.Event(), []

    def slow_sync(handle: int) -> None:
        syncs.append(handle)
        entered.set()
        assert release.wait(10)
        os.fsync(handle)

    monkeypatch.setattr(rawlog, "_sync", slow_sync)
    first = log.append(1, 0, b"first")
    assert entered.wait(10)
    later = [log.append(1, 0, b"later") for _ in range(50)]
    assert not first.done()
    assert not any(future.done() for future in later)
    release.set()
    wait([first, *later], timeout=10)
    assert [future.result(0) for future in (first, *later)] == list(range(1, 52))
    assert len(syncs) == 2


def test_failed_sync_is_never_an_acknowledgement(
    log: RawLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be synced is refused and not read back later; the log works again when the disk does."""
    log.append(1, 0, b"before").result(5)

    def broken(handle: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(rawlog, "_sync", broken)
        with pytest.raises(LogUnavailable, match="Input/output error"):
            log.append(1, 0, b"lost").result(5)
        assert "Input/output error" in log.last_error
    assert log.append(1, 0, b"after").result(5) == 2
    assert log.last_error == ""
    assert contents(folder) == ([b"before", b"after"], [])


def test_full_disk_in_the_middle_of_a_record(
    log: RawLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that stops half way leaves nothing of its record behind."""
    log.append(1, 0, b"before").result(5)
    real_write, calls = os.write, []

    def filling(handle: int, data: bytes) -> int:
        calls.append(handle)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real_write(handle, bytes(data)[:20])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", filling)
        with pytest.raises(LogUnavailable, match="No space left"):
            log.append(1, 0, b"x" * 100).result(5)
    log.append(1, 0, b"after").result(5)
    assert contents(folder) == ([b"before", b"after"], [])


def test_every_cut_is_repaired(tmp_path: Path) -> None:
    """Wherever a crash cut the last record off, the earlier ones stay, the rest is kept in quarantine."""
    whole = filled(tmp_path / "whole" / "raw").read_bytes()
    last = len(whole) - HEADER_SIZE - len(PAYLOADS[-1])
    for cut in range(last, len(whole)):
        base = tmp_path / str(cut)
        (base / "raw").mkdir(parents=True)
        segments.path_of(base / "raw", 1).write_bytes(whole[:cut])
        log = opened_log(base / "raw")
        log.append(1, 0, b"after").result(5)
        log.close()
        assert contents(base / "raw") == ([*PAYLOADS[:2], b"after"], [])
        if cut == last:
            assert log.repaired is None
            continue
        assert log.repaired is not None
        assert (log.repaired.at, log.repaired.length) == (Position(1, last), cut - last)
        (kept,) = (base / "quarantine").iterdir()
        assert kept.read_bytes() == whole[last:cut]
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_every_flipped_bit_is_reported_and_costs_one_record(tmp_path: Path) -> None:
    """One flipped bit anywhere loses the record it is in, says where, and leaves the others readable."""
    folder = tmp_path / "raw"
    segment = filled(folder)
    whole = segment.read_bytes()
    starts = [item.at.offset for item in segments.read(folder)]
    assert len(starts) == 3
    for place in range(len(whole)):
        segment.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        hit = max(number for number, start in enumerate(starts) if start <= place)
        payloads, damage = contents(folder)
        assert payloads == [payload for number, payload in enumerate(PAYLOADS) if number != hit]
        assert [item.at for item in damage] == [Position(1, starts[hit])]
        assert f"byte {starts[hit]}" in str(damage[0])


def test_garbage_is_damage_and_never_an_error(folder: Path) -> None:
    """A segment of anything at all is one reported damage; it does not keep the log from opening."""
    folder.mkdir(parents=True)
    segments.path_of(folder, 3).write_bytes(b"HRL1 not a frame, HRL1" * 100)
    log = opened_log(folder)
    assert log.repaired is not None
    assert log.append(1, 0, b"new").result(5) == 1
    log.close()
    assert contents(folder) == ([b"new"], [])


def test_restart_goes_on_with_the_sequence_in_a_new_segment(folder: Path) -> None:
    """A segment is written by one process only, and no sequence number is given out twice."""
    filled(folder)
    log = opened_log(folder)
    assert log.append(1, 0, b"again").result(5) == len(PAYLOADS) + 1
    log.close()
    assert segments.numbers(folder) == [1, 2]
    assert contents(folder) == ([*PAYLOADS, b"again"], [])


def test_an_index_that_knows_more_is_not_contradicted(folder: Path) -> None:
    """With its files gone the log goes on behind what the index has, not at places it knows already."""
    log = opened_log(folder, first_segment=8, first_sequence=100)
    assert log.append(1, 0, b"new").result(5) == 100
    log.close()
    assert segments.numbers(folder) == [8]


def test_segments_are_bounded(folder: Path) -> None:
    """A new segment begins once the old one has its size, and reading crosses from one to the next."""
    log = opened_log(folder, segment_bytes=150)
    for payload in PAYLOADS * 3:
        log.append(1, 0, payload).result(5)
    log.close()
    assert len(segments.numbers(folder)) > 3
    assert contents(folder) == (PAYLOADS * 3, [])
    batches = list(segments.batches(folder, START, log.synced, records=2))
    assert [len(batch) for batch in batches] == [2, 2, 2, 2, 1]


def test_exporter_that_hung_up_stops_nothing(log: RawLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request cancelled while it waits is dropped; the writer goes on with the others."""
    entered, release = threading.Event(), threading.Event()

    def slow_sync(handle: int) -> None:
        entered.set()
        assert release.wait(10)

    monkeypatch.setattr(rawlog, "_sync", slow_sync)
    running = log.append(1, 0, b"running")
    assert entered.wait(10)
    waiting = log.append(1, 0, b"waiting")
    assert waiting.cancel()
    assert not running.cancel()
    release.set()
    assert running.result(5) == 1
    assert log.append(1, 0, b"next").result(5) == 2


def test_backlog_is_bounded(log: RawLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk does not keep up, further exports are refused at once instead of filling the memory."""
    entered, release = threading.Event(), threading.Event()

    def slow_sync(handle: int) -> None:
        entered.set()
        assert release.wait(10)

    monkeypatch.setattr(rawlog, "_sync", slow_sync)
    monkeypatch.setattr(rawlog, "PENDING_BYTES", 1000)
    accepted: list[Future[int]] = [log.append(1, 0, b"x")]
    assert entered.wait(10)
    accepted += [log.append(1, 0, b"x" * 600)]
    with pytest.raises(LogUnavailable, match="faster"):
        log.append(1, 0, b"x" * 600).result(0)
    release.set()
    assert [future.result(5) for future in accepted] == [1, 2]


def test_closed_log_refuses(folder: Path) -> None:
    """After closing, an export is refused and not silently queued for ever."""
    log = opened_log(folder)
    log.close()
    log.close()
    with pytest.raises(LogUnavailable, match="shutting down"):
        log.append(1, 0, b"late").result(0)
