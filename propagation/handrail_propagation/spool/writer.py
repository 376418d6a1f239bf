"""Appends records to this process's own segments, one `write()` each, and syncs them on demand.

No thread of its own; any number of threads may call it. See docs/adr/0006-spool-format.md.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from google_crc32c import value

from handrail_propagation.errors import HandrailError
from handrail_propagation.spool.files import FILES, Files
from handrail_propagation.spool.record import (
    HEADER_SIZE,
    MAGIC,
    MAX_DROPPED,
    MAX_ORIGIN,
    MAX_PAYLOAD,
    VERSION,
    Kind,
    pack,
    pack_crc,
    pack_fields,
)
from handrail_propagation.spool.room import Room
from handrail_propagation.spool.segments import Segment, open_segment

_log = logging.getLogger(__name__)

DEFAULT_MAX_SIZE: Final = 256 << 20
SEGMENT_SIZE: Final = 4 << 20
HELD: Final = -1
"""In place of a record's number: it is written with the next one. Nothing counts as safe before that."""
_HELD_RECORDS: Final = 1000
_HELD_BYTES: Final = 4 << 20


class NotRecorded(HandrailError):
    """What must be on disk before this call is not there; free disk space or see `handrail spool status`."""


class Keep(IntEnum):
    """What becomes of a record for which there is no room."""

    DROPPABLE = 0
    """Dropped and counted: what only reads."""
    ALWAYS = 1
    """Written as long as the disk takes it, and held in memory until it does: decisions, effects, approvals."""


@dataclass(frozen=True, slots=True)
class _Held:
    kind: Kind
    origin: bytes
    payload: bytes


class Writer:
    """One process's writer into `folder`.

    `identity` is the payload of the writer record, `max_size` what all files of the folder together may take
    (bytes; other processes' included; see `Room`).
    """

    def __init__(
        self,
        folder: Path,
        identity: bytes,
        *,
        max_size: int = DEFAULT_MAX_SIZE,
        segment_size: int | None = None,
        files: Files = FILES,
    ) -> None:
        self.folder = folder
        self.id = int.from_bytes(os.urandom(8), "big")
        self.dropped = 0
        """Records that are not in the spool, and never will be."""
        self._identity = identity
        self._room = Room(folder, max_size, files, self._complain)
        self._segment_size = segment_size or max(4096, min(SEGMENT_SIZE, max_size // 16))
        self._files = files
        self._write_bytes = files.write
        self._lock = threading.RLock()
        self._synced_or_failed = threading.Condition(self._lock)
        self._busy = False
        self._segment: Segment | None = None
        self._retired: list[Segment] = []
        """Retired segments that are not synced yet, oldest first."""
        self._index = 0
        self._sequence = 0
        self._in_flight: tuple[int, int] | None = None
        """The frame being written: its number, and where the segment ends if it comes through."""
        self._synced = 0
        self._lost = 0
        """The highest number that stood in a segment when its sync failed."""
        self._syncing = False
        self._held: deque[_Held] = deque()
        self._held_bytes = 0
        self._complained = 0.0

    @property
    def recorded(self) -> int:
        """The number of the last record that was written."""
        return self._sequence

    @property
    def held(self) -> int:
        """How many records wait in memory for room on disk."""
        return len(self._held)

    def append(self, kind: Kind, payload: bytes, origin: bytes = b"", keep: Keep = Keep.ALWAYS) -> int:
        """Write one record; return its number, `HELD` or 0: dropped, or held until there is room.

        `origin` is the payload of the origin record that this one belongs to. Never raises for a disk that is
        full or fails: that is counted and logged.
        """
        with self._lock:
            if self._busy:
                # A signal handler that interrupted this thread in the middle of an append: right behind that one
                return HELD if self._hold(_Held(kind, origin, payload), Keep.ALWAYS) else 0
            self._busy = True
            try:
                segment = self._segment
                if (
                    segment is not None
                    and self._in_flight is None
                    and not self._held
                    and (room := self._room).left > 0
                    and (size := segment.size) < self._segment_size
                    and (length := len(payload)) <= MAX_PAYLOAD
                    and (dropped := self.dropped) <= MAX_DROPPED
                    and (number := segment.origins.get(origin)) is not None
                ):
                    # As nearly always: there is room, and nothing has to be made first. The rest is `_write_frame`
                    # and `record.pack` without their calls; to copy for the checksum is less than another one
                    sequence = self._sequence + 1
                    fields = pack_fields(MAGIC, VERSION, kind, number, length, dropped, self.id, sequence)
                    frame = fields + pack_crc(value(fields + payload)) + payload
                    length += HEADER_SIZE
                    self._in_flight = sequence, size + length
                    try:
                        if (written := self._write_bytes(segment.descriptor, frame)) != length:
                            raise _cut_off(written, length)
                    except OSError as error:
                        self._in_flight = None
                        self._distrust(segment, error)
                    else:
                        segment.size = size + length
                        segment.last = self._sequence = sequence
                        self._in_flight = None
                        room.left -= length
                        return sequence
                return self._append(_Held(kind, origin, payload), keep)
            finally:
                self._busy = False

    def check_room(self) -> None:
        """Raise `NotRecorded` when the spool is too full for another effect."""
        with self._lock:
            room = self._room
            if room.refuses_effects():
                raise NotRecorded(
                    f"the spool {self.folder} holds {room.used:,} of {room.max_size:,} bytes: no effect is let "
                    "through until records have been forwarded; see `handrail spool status`."
                )

    def sync(self, sequence: int) -> None:
        """Return when all records up to number `sequence` are on disk; threads that wait together share a sync.

        Raises `NotRecorded` when that has failed; it is then never tried again for these records.
        """
        with self._lock:
            while True:
                if sequence <= self._lost or sequence > self._sequence:
                    raise NotRecorded(
                        f"record {sequence} of the spool {self.folder} could not be synced to disk."
                    )
                if sequence <= self._synced:
                    return
                if not self._syncing:
                    break
                self._synced_or_failed.wait()
            self._syncing = True
            segments = [*self._retired, *([self._segment] if self._segment else [])]
            mark = self._sequence
        results: list[tuple[Segment, OSError | None]] = []
        listed = False
        try:
            results, listed = self._sync(segments)
        finally:
            with self._lock:
                self._syncing = False
                self._settle(results, mark if len(results) == len(segments) and listed else 0)
                self._synced_or_failed.notify_all()
        with self._lock:
            if not self._lost < sequence <= self._synced:
                raise NotRecorded(
                    f"record {sequence} of the spool {self.folder} could not be synced to disk."
                )

    def drop(self) -> None:
        """Count a record that is not written because what it belongs to was dropped."""
        with self._lock:
            self.dropped += 1

    def close(self) -> None:
        """Say that this process ends in good order. A record that comes later opens a new segment."""
        with self._lock:
            if self._busy:
                return
            if self._in_flight:
                self._recover(*self._in_flight)
            if self._held and not self._write_held():
                _log.error(
                    "spool: %d records that waited for room in %s are not on disk, and go with this process",
                    len(self._held),
                    self.folder,
                )
            elif self._segment is not None:
                self.append(Kind.CLOSE, b"")
            self._retire()
            self._finish_retired()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's files without a word. The writer is not used again."""
        for segment in [*self._retired, *([self._segment] if self._segment else [])]:
            self._files.close(segment.descriptor)

    # --- Appending, under the lock --------------------------------------------------------------------------

    def _append(self, record: _Held, keep: Keep) -> int:
        if self._in_flight:
            self._recover(*self._in_flight)
        if self._held and not self._write_held():
            self._hold(record, keep)
            return 0
        if len(record.payload) > MAX_PAYLOAD:
            self._drop(f"a record of {len(record.payload):,} bytes is too long")
            return 0
        if self._room.left <= 0 and self._room.is_full(droppable=keep is Keep.DROPPABLE):
            self._hold(record, keep)
            return 0
        try:
            return self._put(record)
        except OSError as error:
            self._room.fail()
            self._hold(record, keep, error)
            return 0

    def _put(self, record: _Held) -> int:
        """Write the record, in a new segment if need be; raises `OSError` when that fails as well."""
        segment = self._segment
        if segment is not None:
            try:
                if segment.size < self._segment_size and len(segment.origins) <= MAX_ORIGIN:
                    return self._write(segment, record)
                self._retire()
            except OSError as error:
                self._distrust(segment, error)
        segment = self._open()
        # Not before: a writer that lives holds a lock at any time, by which readers know that it does
        self._finish_retired()
        try:
            return self._write(segment, record)
        except OSError as error:
            self._distrust(segment, error)
            raise

    def _distrust(self, segment: Segment, error: OSError) -> None:
        """Never use this descriptor again: the kernel may say only once that something is wrong."""
        self._complain(f"{segment.path}: {error.strerror}; going on in a new segment")
        self._retire()

    def _write(self, segment: Segment, record: _Held) -> int:
        number = segment.origins.get(record.origin)
        if number is None:
            number = len(segment.origins)
            self._write_frame(segment, Kind.ORIGIN, record.origin, number)
            segment.origins[record.origin] = number
        return self._write_frame(segment, record.kind, record.payload, number)

    def _write_frame(self, segment: Segment, kind: Kind, payload: bytes, origin: int) -> int:
        """Write one frame; return its number. Raises `OSError` when it is not all there."""
        sequence = self._sequence + 1
        frame = pack(kind, self.id, sequence, payload, origin, self.dropped)
        size = len(frame)
        end = segment.size + size
        self._in_flight = sequence, end
        try:
            written = self._write_bytes(segment.descriptor, frame)
        except OSError:
            self._in_flight = None
            raise
        if written != size:
            self._in_flight = None
            raise _cut_off(written, size)
        segment.size = end
        segment.last = self._sequence = sequence
        self._in_flight = None
        self._room.left -= size
        return sequence

    def _recover(self, sequence: int, end: int) -> None:
        """An exception came out of nowhere (a soft time limit) while a frame was written: see how far it got."""
        self._in_flight = None
        if self._segment is None:
            return
        if self._files.size(self._segment.descriptor) == end:
            self._sequence = self._segment.last = sequence
        # Whether it was an origin is not known any more: the next segment starts with a clean table
        self._retire()

    def _open(self) -> Segment:
        self._index += 1
        segment = open_segment(
            self._files, self.folder, self.id, self._index, self._sequence + 1, self._identity
        )
        self._segment = segment
        self._sequence = segment.last
        return segment

    def _retire(self) -> None:
        """Append no more to the current segment; it stays open until it is synced."""
        if self._segment is not None:
            self._segment.retired = True
            self._retired.append(self._segment)
            self._segment = None

    def _finish_retired(self) -> None:
        """Sync and close retired segments, unless a thread is at it: then it, or the next one, does that."""
        if not self._syncing and self._retired:
            results, listed = self._sync(self._retired)
            mark = self._retired[-1].last
            self._settle(results, mark if listed else 0)

    # --- Syncing --------------------------------------------------------------------------------------------

    def _sync(self, segments: list[Segment]) -> tuple[list[tuple[Segment, OSError | None]], bool]:
        """Sync files and, where one is new, the folder; return each one's result, and whether the names are safe."""
        results: list[tuple[Segment, OSError | None]] = []
        for segment in segments:
            try:
                self._files.sync(segment.descriptor)
                if not segment.retired and self._files.is_deleted(segment.descriptor):
                    raise OSError(errno.ENOENT, "somebody has deleted it")
                results.append((segment, None))
            except OSError as error:
                results.append((segment, error))
        try:
            if not all(segment.listed for segment in segments):
                self._files.sync_folder(self.folder)
        except OSError as error:
            return [(segment, error) for segment in segments], False
        return results, True

    def _settle(self, results: list[tuple[Segment, OSError | None]], mark: int) -> None:
        """Book the results of a sync that covered all records up to `mark`; close what needs no other."""
        for segment, error in results:
            if error is None:
                segment.listed = True
            else:
                self._lost = max(self._lost, segment.last)
                self._complain(f"{segment.path} could not be synced: {error.strerror}")
                if segment is self._segment:
                    self._retire()
            if segment.retired and (error is not None or segment.last <= mark):
                self._retired.remove(segment)
                self._files.close(segment.descriptor)
        self._synced = max(self._synced, mark)

    # --- No room --------------------------------------------------------------------------------------------

    def _hold(self, record: _Held, keep: Keep, error: OSError | None = None) -> bool:
        """Keep a record in memory, or drop it; return whether it was kept."""
        reason = f"{self.folder}: {error.strerror}" if error else f"{self.folder} is full"
        size = len(record.payload)
        if (
            keep is Keep.DROPPABLE
            or len(self._held) >= _HELD_RECORDS
            or self._held_bytes + size > _HELD_BYTES
        ):
            self._drop(reason)
            return False
        self._held.append(record)
        self._held_bytes += size
        return True

    def _write_held(self) -> bool:
        """Write what waits in memory, oldest first; return whether nothing waits any more."""
        while self._held:
            if self._room.left <= 0 and self._room.is_full(droppable=False):
                return False
            try:
                self._put(self._held[0])
            except OSError:
                self._room.left = 0
                return False
            self._held_bytes -= len(self._held.popleft().payload)
        return True

    def _drop(self, reason: str) -> None:
        self.dropped += 1
        if self._complain(f"{reason}: {self.dropped:,} records dropped so far") and not self._held:
            # Every frame says how many were dropped: a process that only reads would have none to say it in
            self._hold(_Held(Kind.WRITER, b"", self._identity), Keep.ALWAYS)

    def _complain(self, message: str) -> bool:
        """Log, but not once for each record; return whether it was time to."""
        now = time.monotonic()
        if now < self._complained:
            return False
        self._complained = now + 10
        _log.error("spool: %s", message)
        return True


def _cut_off(written: int, size: int) -> OSError:
    return OSError(errno.ENOSPC, f"only {written} of {size} bytes could be written")
