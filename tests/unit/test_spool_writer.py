"""The spool's writer: gap-free numbers, segments of its own, syncs that are shared, faults that cost no decision."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
import warnings
from pathlib import Path

import pytest

from handrail_propagation.errors import ConfigurationError
from handrail_propagation.spool.accounting import account
from handrail_propagation.spool.files import Files
from handrail_propagation.spool.identity import Identity
from handrail_propagation.spool.process import Spool
from handrail_propagation.spool.reader import is_alive, read, segments, survey
from handrail_propagation.spool.record import Damage, Kind, Record, pack
from handrail_propagation.spool.writer import HELD, Keep, NotRecorded, Writer


def _payloads(folder: Path, kind: Kind = Kind.LOG) -> list[bytes]:
    return [
        item.payload
        for files in segments(folder).values()
        for file in files
        for item in read(file)
        if isinstance(item, Record) and item.kind is kind
    ]


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns where there are threads, and pytest-xdist has some: the child only writes and leaves
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _exact(folder: Path) -> None:
    for state in survey(folder):
        assert state.recorded == state.intact + state.quarantined


@pytest.mark.parametrize("dropped", [0, 3, 0xFFFFFFFF, 0xFFFFFFFF + 1])
def test_every_frame_is_what_pack_makes(tmp_path: Path, dropped: int) -> None:
    """On the short way through `append`, which does not call `pack`, as on the long one."""
    frames: list[bytes] = []

    class Seen(Files):
        def write(self, descriptor: int, data: bytes) -> int:
            frames.append(data)
            return super().write(descriptor, data)

    writer = Writer(tmp_path, b"", files=Seen())
    writer.dropped = dropped
    sent = [(Kind.LOG, b"first"), (Kind.SPAN_START, b""), (Kind.SPAN_END, b"x" * 5000), (Kind.LOG, b"\0")]
    numbers = [writer.append(kind, payload, b"origin") for kind, payload in sent]
    assert frames[-len(sent) :] == [
        pack(kind, writer.id, number, payload, 1, dropped)
        for (kind, payload), number in zip(sent, numbers, strict=True)
    ]
    assert numbers == sorted(set(numbers))
    writer.close()


class Failing(Files):
    """A disk that fails on demand; counts what is called."""

    def __init__(self) -> None:
        self.write_error: int | None = None
        self.sync_error: int | None = None
        self.short: bool = False
        self.syncs: list[int] = []
        self.written: list[int] = []
        self.full = False

    def create(self, path: Path) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "full")
        return super().create(path)

    def write(self, descriptor: int, data: bytes) -> int:
        self.written.append(descriptor)
        if self.full:
            raise OSError(errno.ENOSPC, "full")
        if self.short:
            self.short = False
            return super().write(descriptor, data[: len(data) // 2])
        if self.write_error is not None:
            error, self.write_error = self.write_error, None
            raise OSError(error, "broken")
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self.syncs.append(descriptor)
        if self.sync_error is not None:
            error, self.sync_error = self.sync_error, None
            raise OSError(error, "broken")
        super().sync(descriptor)


def test_records_are_numbered_without_a_gap_across_segments(tmp_path: Path) -> None:
    """Any number of segments: every record is there once, in order, and the account is exact."""
    writer = Writer(tmp_path, b"", segment_size=4096)
    for number in range(500):
        assert writer.append(Kind.LOG, b"%d" % number, origin=b"scope %d" % (number % 3))
    (state,) = survey(tmp_path)
    assert len(state.segments) > 4
    assert (state.recorded, state.intact, state.quarantined) == (writer.recorded, writer.recorded, 0)
    assert _payloads(tmp_path) == [b"%d" % number for number in range(500)]
    writer.close()


def test_each_segment_can_be_read_alone(tmp_path: Path) -> None:
    """Every segment starts with who writes it and holds the origin of each of its records."""
    writer = Writer(tmp_path, Identity.here().encode(), segment_size=4096)
    for number in range(300):
        writer.append(Kind.SPAN_END, b"x" * 20, origin=b"origin %d" % (number % 5))
    (files,) = segments(tmp_path).values()
    assert len(files) > 2
    for file in files:
        items = [item for item in read(file) if isinstance(item, Record)]
        assert items[0].kind is Kind.WRITER
        assert Identity.parse(items[0].payload).pid == os.getpid()
        known = 0
        for item in items[1:]:
            known += item.kind is Kind.ORIGIN
            assert item.kind is Kind.ORIGIN or 1 <= item.origin <= known
    writer.close()


def test_only_the_owner_can_read_a_spool(tmp_path: Path) -> None:
    """The folder is mode 0700 and its files 0600, whatever the umask; a folder open to others is refused."""
    before = os.umask(0)
    try:
        spool = Spool(tmp_path / "spool")
        spool.writer().append(Kind.LOG, b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    modes = [stat.S_IMODE(path.stat().st_mode) for path in spool.folder.iterdir()]
    assert modes == [0o600]
    spool.close()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        Spool(tmp_path / "open")


def test_a_spool_that_is_no_folder_is_refused_at_start(tmp_path: Path) -> None:
    """A path that cannot be used is said at start, by name, not at the first record."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file"):
        Spool(tmp_path / "file")


@pytest.mark.parametrize("fault", ["write", "short"])
def test_a_failed_write_retires_the_segment_and_loses_nothing(tmp_path: Path, fault: str) -> None:
    """After EIO, or half a record on a disk that was full for a moment, the record is in the next segment."""
    files = Failing()
    writer = Writer(tmp_path, b"", files=files)
    writer.append(Kind.LOG, b"one")
    if fault == "write":
        files.write_error = errno.EIO
    else:
        files.short = True
    broken = files.written[-1]
    files.written.clear()
    assert writer.append(Kind.LOG, b"two")
    assert writer.append(Kind.LOG, b"three")
    assert files.written.count(broken) == 1
    (state,) = survey(tmp_path)
    assert len(state.segments) == 2
    assert _payloads(tmp_path) == [b"one", b"two", b"three"]
    assert (state.quarantined, writer.dropped) == (0, 0)
    assert [place.damage.reason for place in state.damages] == ([] if fault == "write" else ["fragment"])
    writer.close()


def test_a_failed_sync_is_never_tried_again_on_that_descriptor(tmp_path: Path) -> None:
    """EIO from fdatasync: these records count as not recorded for good; the next ones go elsewhere and are safe."""
    files = Failing()
    writer = Writer(tmp_path, b"", files=files)
    first = writer.append(Kind.LOG, b"one")
    files.sync_error = errno.EIO
    with pytest.raises(NotRecorded):
        writer.sync(first)
    with pytest.raises(NotRecorded):
        writer.sync(first)
    assert len(files.syncs) == 1
    second = writer.append(Kind.LOG, b"two")
    writer.sync(second)
    with pytest.raises(NotRecorded):
        writer.sync(first)
    assert len(segments(tmp_path)[writer.id]) == 2
    writer.close()


def test_a_folder_that_cannot_be_synced_is_no_record(tmp_path: Path) -> None:
    """A file whose name is not on disk is lost with the power: the sync has failed."""

    class NoNames(Files):
        def sync_folder(self, folder: Path) -> None:
            raise OSError(errno.EIO, "broken")

    writer = Writer(tmp_path, b"", files=NoNames())
    with pytest.raises(NotRecorded):
        writer.sync(writer.append(Kind.LOG, b"one"))
    writer.close()


def test_threads_that_wait_share_a_sync(tmp_path: Path) -> None:
    """While one thread's sync runs, the others' records gather for one more: two syncs for many threads."""
    go, inside = threading.Event(), threading.Event()

    class Slow(Files):
        syncs = 0

        def sync(self, descriptor: int) -> None:
            self.syncs += 1
            inside.set()
            go.wait(30)
            super().sync(descriptor)

    files = Slow()
    writer = Writer(tmp_path, b"", files=files)
    results: list[int] = []

    def gated() -> None:
        number = writer.append(Kind.LOG, b"decision")
        appended.release()
        writer.sync(number)
        results.append(number)

    appended = threading.Semaphore(0)
    threads = [threading.Thread(target=gated) for _ in range(20)]
    threads[0].start()
    assert inside.wait(30)
    for thread in threads[1:]:
        thread.start()
    for _ in threads:
        assert appended.acquire(timeout=30)
    go.set()
    for thread in threads:
        thread.join(30)
    assert len(results) == 20
    assert files.syncs == 2
    writer.close()


def test_records_written_during_a_sync_and_a_rotation_are_synced_before_they_count(tmp_path: Path) -> None:
    """What is appended to a segment while its sync runs needs another sync, also when the segment is full by then."""
    synced: dict[int, int] = {}
    go, inside = threading.Event(), threading.Event()

    class Measured(Files):
        def sync(self, descriptor: int) -> None:
            size = os.fstat(descriptor).st_size
            if not inside.is_set():
                inside.set()
                go.wait(30)
            super().sync(descriptor)
            inode = os.fstat(descriptor).st_ino
            synced[inode] = max(synced.get(inode, 0), size)

    writer = Writer(tmp_path, b"", segment_size=4096, files=Measured())
    thread = threading.Thread(target=writer.sync, args=[writer.append(Kind.LOG, b"x" * 100)])
    thread.start()
    assert inside.wait(30)
    for _ in range(100):
        last = writer.append(Kind.LOG, b"x" * 100)
    go.set()
    thread.join(30)
    writer.sync(last)
    sizes = {path.stat().st_ino: path.stat().st_size for path in tmp_path.glob("*.seg")}
    assert len(sizes) > 2
    assert synced == sizes
    writer.close()


def test_a_child_writes_segments_of_its_own(tmp_path: Path) -> None:
    """After a fork, parent and child each go on under their own id; the child's death does not end the parent."""
    spool = Spool(tmp_path / "spool")
    spool.writer().append(Kind.LOG, b"parent before")
    ours = spool.writer().id
    pid = _fork()
    if pid == 0:
        try:
            spool.writer().append(Kind.LOG, b"child")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    spool.writer().append(Kind.LOG, b"parent after")
    states = {state.id: state for state in survey(spool.folder)}
    assert len(states) == 2
    assert sorted(_payloads(spool.folder)) == [b"child", b"parent after", b"parent before"]
    assert {state.id: state.alive for state in states.values()} == {
        writer: writer == ours for writer in states
    }
    assert states.pop(ours).identity.pid == os.getpid()
    assert next(iter(states.values())).identity.pid == pid
    spool.close()


def test_a_child_does_not_keep_its_dead_parent_alive(tmp_path: Path) -> None:
    """A pool child that never writes lets go of the segment that it inherited: its parent's death is seen."""
    spool = Spool(tmp_path / "spool")
    read_end, write_end = os.pipe()
    ready, says_ready = os.pipe()
    parent = _fork()
    if parent == 0:
        spool.writer().append(Kind.LOG, b"parent")
        child = _fork()
        if child == 0:
            os.close(write_end)  # so that it ends with the test, however that ends
            os.write(says_ready, b"x")
            os.read(read_end, 1)
        os._exit(0)
    os.waitpid(parent, 0)
    os.read(ready, 1)  # the child may come out of its fork after its parent's end
    (files,) = segments(spool.folder).values()
    assert not is_alive(files)
    os.write(write_end, b"x")
    for end in (read_end, write_end, ready, says_ready):
        os.close(end)


def test_a_writer_that_closed_says_so(tmp_path: Path) -> None:
    """A process that ends in good order leaves a last record, and is not alive any more."""
    writer = Writer(tmp_path, b"")
    writer.append(Kind.LOG, b"one")
    (state,) = survey(tmp_path)
    assert (state.alive, state.closed) == (True, False)
    writer.close()
    (state,) = survey(tmp_path)
    assert (state.alive, state.closed) == (False, True)


def test_reads_are_dropped_first_and_effects_refused_before_decisions_are(tmp_path: Path) -> None:
    """A spool that fills up: reads go and are counted, then effects are refused, decisions are still recorded."""
    writer = Writer(tmp_path, b"", max_size=256 << 10)
    while writer.append(Kind.SPAN_END, b"read" * 100, keep=Keep.DROPPABLE):
        pass
    assert writer.dropped == 1
    writer.check_room()
    decisions = 0
    while True:
        assert writer.append(Kind.LOG, b"decision" * 50)
        decisions += 1
        if sum(path.stat().st_size for path in tmp_path.iterdir()) > (256 << 10) * 7 // 8:
            break
    with pytest.raises(NotRecorded, match="spool status"):
        writer.check_room()
    assert writer.append(Kind.LOG, b"the decision that was refused")
    assert len(_payloads(tmp_path)) == decisions + 1
    (state,) = survey(tmp_path)
    assert state.dropped == writer.dropped >= 1
    assert writer.held == 0
    writer.close()


def test_a_full_disk_holds_decisions_back_and_loses_none(tmp_path: Path) -> None:
    """What could not be written waits, bounded, and is written first when there is room again."""
    files = Failing()
    writer = Writer(tmp_path, b"", files=files)
    writer.append(Kind.LOG, b"0")
    files.full = True
    assert writer.append(Kind.LOG, b"1") == 0
    assert writer.append(Kind.SPAN_END, b"read", keep=Keep.DROPPABLE) == 0
    assert (writer.held, writer.dropped) == (1, 1)
    files.full = False
    assert writer.append(Kind.LOG, b"2")
    assert _payloads(tmp_path) == [b"0", b"1", b"2"]
    assert writer.held == 0
    _exact(tmp_path)
    writer.close()


def test_what_waits_in_memory_is_bounded(tmp_path: Path) -> None:
    """A disk that stays full costs at most 1,000 records or 4 MiB of memory; the rest is counted."""
    files = Failing()
    files.full = True
    writer = Writer(tmp_path, b"", files=files)
    for _ in range(1500):
        assert writer.append(Kind.LOG, b"x" * 100) == 0
    assert (writer.held, writer.dropped) == (1000, 500)


def test_room_that_others_make_is_seen(tmp_path: Path) -> None:
    """When the forwarder has deleted segments, a full spool takes records again."""
    writer = Writer(tmp_path, b"", max_size=64 << 10)
    filler = tmp_path / "0000000000000001-00000001.seg"
    filler.write_bytes(b"x" * (64 << 10))
    assert writer.append(Kind.LOG, b"decision") == 0
    with pytest.raises(NotRecorded):
        writer.check_room()
    filler.unlink()
    assert writer.append(Kind.LOG, b"another")
    writer.check_room()
    assert _payloads(tmp_path) == [b"decision", b"another"]
    writer.close()


def test_an_exception_from_a_signal_leaves_the_account_exact(tmp_path: Path) -> None:
    """A soft time limit that hits in the middle of a write neither repeats a number nor leaves one out."""

    class Interrupted(Files):
        when = ""

        def write(self, descriptor: int, data: bytes) -> int:
            if self.when == "before":
                self.when = ""
                raise TimeoutError  # an OSError: the writer moves on
            written = super().write(descriptor, data)
            if self.when == "after":
                self.when = ""
                raise KeyboardInterrupt
            return written

    files = Interrupted()
    writer = Writer(tmp_path, b"", files=files)
    writer.append(Kind.LOG, b"one")
    files.when = "after"
    with pytest.raises(KeyboardInterrupt):
        writer.append(Kind.LOG, b"two")
    files.when = "before"
    writer.append(Kind.LOG, b"three")
    writer.append(Kind.LOG, b"four")
    (state,) = survey(tmp_path)
    assert (state.quarantined, state.recorded) == (0, state.intact)
    assert _payloads(tmp_path) == [b"one", b"two", b"three", b"four"]
    writer.close()


def test_a_record_from_a_signal_handler_is_not_torn_into_another(tmp_path: Path) -> None:
    """A handler that interrupts this thread in the middle of an append gets its record in behind the first.

    Nothing of it counts as dropped, be it only a read, and nothing as safe before it is written.
    """

    class Reentrant(Files):
        again = True

        def write(self, descriptor: int, data: bytes) -> int:
            if self.again and b"outer" in data:
                self.again = False
                assert writer.append(Kind.LOG, b"from the handler", keep=Keep.DROPPABLE) == HELD
                with pytest.raises(NotRecorded):
                    writer.sync(HELD)
            return super().write(descriptor, data)

    writer = Writer(tmp_path, b"", files=Reentrant())
    writer.append(Kind.LOG, b"outer")
    writer.append(Kind.LOG, b"next")
    assert _payloads(tmp_path) == [b"outer", b"from the handler", b"next"]
    assert (writer.dropped, writer.held) == (0, 0)
    writer.close()


def test_a_lost_segment_is_a_gap(tmp_path: Path) -> None:
    """A segment that somebody deleted is not overlooked: its records are counted as lost."""
    writer = Writer(tmp_path, b"", segment_size=4096)
    for _ in range(200):
        writer.append(Kind.LOG, b"x" * 100)
    writer.close()
    (files,) = segments(tmp_path).values()
    gone = [item.sequence for item in read(files[1]) if isinstance(item, Record)]
    files[1].path.unlink()
    (state,) = survey(tmp_path)
    assert state.lost == [range(gone[0], gone[-1] + 1)]
    _exact(tmp_path)


def test_every_damaged_byte_is_found_and_fatal_nowhere(tmp_path: Path) -> None:
    """A bit flipped anywhere in the last record costs exactly that record, with its place."""
    writer = Writer(tmp_path, b"", segment_size=4096)
    writer.append(Kind.LOG, b"one")
    before = os.path.getsize(next(tmp_path.iterdir()))
    writer.append(Kind.LOG, b"two")
    writer.abandon()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for place in range(before, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        (state,) = survey(tmp_path)
        assert (state.recorded, state.intact, state.quarantined) == (3, 2, 1)
        assert [(found.path, found.damage.offset) for found in state.damages] == [(path, before)]


def test_a_segment_that_grows_while_it_is_read_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that a living writer appends between the reader's calls is read, or left for the next time."""
    writer = Writer(tmp_path, b"")
    writer.append(Kind.LOG, b"one")
    look = os.fstat

    def meanwhile(descriptor: int) -> os.stat_result:
        writer.append(Kind.LOG, b"another")
        return look(descriptor)

    monkeypatch.setattr("handrail_propagation.spool.reader.os.fstat", meanwhile)
    ((file,),) = segments(tmp_path).values()
    assert [item for item in read(file) if isinstance(item, Damage)] == []
    monkeypatch.undo()
    writer.close()


def test_a_living_writer_holds_a_lock_at_any_time(tmp_path: Path) -> None:
    """Between two segments, too: in another pid namespace the lock is all that says that a process lives."""

    class Looking(Files):
        def __init__(self) -> None:
            self.alive: list[bool] = []

        def create(self, path: Path) -> int:
            self.alive += [is_alive(files) for files in segments(tmp_path).values()]
            return super().create(path)

    files = Looking()
    writer = Writer(tmp_path, b"", segment_size=4096, files=files)
    for _ in range(100):
        writer.append(Kind.LOG, b"x" * 100)
    assert len(files.alive) > 2
    assert all(files.alive)
    writer.close()
    ((*_, last),) = segments(tmp_path).values()
    assert not last.is_locked()


def test_no_segment_is_used_again_after_an_error_however_new_it_is(tmp_path: Path) -> None:
    """The second of two errors meets a segment that was made for this record: nothing is appended to that either."""

    class Broken(Files):
        def __init__(self) -> None:
            self.errors = 0
            self.failed: set[int] = set()
            self.written: list[int] = []

        def write(self, descriptor: int, data: bytes) -> int:
            file = os.fstat(descriptor).st_ino
            self.written.append(file)
            if self.errors and data[5] != Kind.WRITER:
                self.errors -= 1
                self.failed.add(file)
                self.written.clear()
                raise OSError(errno.EIO, "broken")
            return super().write(descriptor, data)

    files = Broken()
    writer = Writer(tmp_path, b"", files=files)
    writer.append(Kind.LOG, b"one")
    files.errors = 2
    assert writer.append(Kind.LOG, b"two") == 0
    writer.append(Kind.LOG, b"three")
    assert len(files.failed) == 2
    assert files.failed.isdisjoint(files.written)
    assert _payloads(tmp_path) == [b"one", b"two", b"three"]
    _exact(tmp_path)
    writer.close()


def test_what_still_waits_for_room_at_the_end_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that ends on a full disk says how many records it takes with it; with room they are written first."""
    files = Failing()
    writer = Writer(tmp_path, b"", files=files)
    writer.append(Kind.LOG, b"one")
    files.full = True
    writer.append(Kind.LOG, b"two")
    writer.append(Kind.LOG, b"three")
    writer.close()
    assert f"2 records that waited for room in {tmp_path} are not on disk" in caplog.text
    caplog.clear()
    files.full = False
    writer.close()
    assert caplog.text == ""
    assert _payloads(tmp_path) == [b"one", b"two", b"three"]
    assert [state.closed for state in survey(tmp_path)] == [True]


def test_a_writer_that_never_found_room_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also where not even the first segment could be made."""
    files = Failing()
    files.full = True
    writer = Writer(tmp_path, b"", files=files)
    writer.append(Kind.LOG, b"decision")
    writer.close()
    assert "1 records that waited for room" in caplog.text


def test_what_a_process_that_only_reads_has_dropped_is_on_record(tmp_path: Path) -> None:
    """Where every record is dropped none is left to say so: a frame of its own does, and in the end the last one."""
    size = 1 << 20
    (tmp_path / "filler").write_bytes(bytes(size * 7 // 8))
    writer = Writer(tmp_path, b"somebody", max_size=size)
    for _ in range(50):
        assert writer.append(Kind.SPAN_START, b"read", keep=Keep.DROPPABLE) == 0
    assert account(tmp_path).total.dropped > 0
    writer.close()
    total = account(tmp_path).total
    assert total.dropped == 50
    assert (total.recorded, total.quarantined) == (writer.recorded, 0)
    assert writer.recorded < 5


def test_many_processes_together_keep_to_the_size(tmp_path: Path) -> None:
    """However many write reads at once, there is room left for decisions and effects."""
    size = 4 << 20
    writers = [Writer(tmp_path, b"", max_size=size) for _ in range(64)]
    while not all(writer.dropped for writer in writers):
        for writer in writers:
            writer.append(Kind.SPAN_START, b"x" * 1000, keep=Keep.DROPPABLE)
    assert size * 3 // 4 <= sum(path.stat().st_size for path in tmp_path.iterdir()) < size * 7 // 8
    for writer in writers:
        writer.check_room()
        writer.close()


def test_a_segment_that_somebody_has_deleted_holds_no_record(tmp_path: Path) -> None:
    """A cleaner of old files takes the segment that is written: no effect rests on it, and the next one is safe."""
    writer = Writer(tmp_path, b"")
    writer.sync(writer.append(Kind.LOG, b"one"))
    next(tmp_path.iterdir()).unlink()
    with pytest.raises(NotRecorded):
        writer.sync(writer.append(Kind.LOG, b"two"))
    writer.sync(writer.append(Kind.LOG, b"three"))
    assert _payloads(tmp_path) == [b"three"]
    (state,) = survey(tmp_path)
    assert (state.recorded, state.quarantined) == (writer.recorded, 3)
    shutil.rmtree(tmp_path)
    assert writer.append(Kind.LOG, b"four") == 5 + 1
    with pytest.raises(NotRecorded):
        writer.sync(writer.recorded)
    assert writer.append(Kind.LOG, b"five") == 0
    writer.close()


def test_a_foreign_file_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    """What is no segment is not read; a segment of rubbish is damage, not an error."""
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "00000000000000aa-00000001.seg").write_bytes(os.urandom(5000))
    (state,) = survey(tmp_path)
    assert state.intact == 0
    assert state.recorded == state.quarantined == 1
    assert all(isinstance(place.damage, Damage) for place in state.damages)
