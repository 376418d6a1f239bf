"""The raw log: exports are appended, synced, and only then acknowledged (DESIGN D12).

One thread writes. Requests that arrive while it syncs share the next sync (group commit). It knows frames
and files; what is in a payload is none of its business.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from handrail_harness.store import segments
from handrail_harness.store.base import Damage, Position
from handrail_harness.store.frames import pack

SEGMENT_BYTES = 32 << 20
PENDING_BYTES = 64 << 20
# macOS has no fdatasync.
_sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class LogUnavailable(Exception):
    """The record is not on disk and must not be acknowledged; the exporter should try again later."""


class _Pending(NamedTuple):
    kind: int
    encoding: int
    payload: bytes
    done: Future[int]


class RawLog:
    """The segments in `folder`, opened for appending by this process alone.

    `first_segment` and `first_sequence` are lower bounds, from an index that may know more than the files
    do. `repaired` is what a crash left half written, cut off and kept in `quarantine`; `None` when there
    was nothing. Raises `OSError` when the folder cannot be read or written.
    """

    def __init__(
        self,
        folder: Path,
        quarantine: Path,
        *,
        first_segment: int = 1,
        first_sequence: int = 1,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.folder = folder
        segments.private_folder(folder)
        highest, repaired = segments.repair_tail(folder, quarantine)
        self.repaired: Damage | None = repaired
        existing = segments.numbers(folder)
        # Never the old file again: an index position behind a cut-off tail would hide what comes next in it.
        self._next_segment = max([first_segment, *(number + 1 for number in existing[-1:])])
        self._next_sequence = max(first_sequence, highest + 1)
        self._segment_bytes = segment_bytes
        self._file = -1
        self._lock = threading.Condition()
        self._queue: list[_Pending] = []
        self._queued_bytes = 0
        self._closing = False
        self.last_error = ""
        self._synced = segments.end(folder)
        self._writer = threading.Thread(target=self._run, name="handrail-rawlog", daemon=True)
        self._writer.start()

    @property
    def synced(self) -> Position:
        """The place up to which everything is on disk."""
        with self._lock:
            return self._synced

    @property
    def closed(self) -> bool:
        """Whether nothing will be appended any more."""
        return self._closing

    def append(self, kind: int, encoding: int, payload: bytes) -> Future[int]:
        """Queue one record; the future gives its sequence once it is synced, or raises `LogUnavailable`."""
        done: Future[int] = Future()
        with self._lock:
            if self._closing:
                done.set_exception(LogUnavailable("the receiver is shutting down"))
            elif self._queued_bytes + len(payload) > PENDING_BYTES and self._queue:
                done.set_exception(LogUnavailable("exports arrive faster than the disk takes them"))
            else:
                self._queue.append(_Pending(kind, encoding, payload, done))
                self._queued_bytes += len(payload)
                self._lock.notify_all()
        return done

    def wait_beyond(self, position: Position, timeout: float) -> Position:
        """Wait up to `timeout` seconds until more than `position` is synced; return what is."""
        with self._lock:
            self._lock.wait_for(lambda: self._synced > position or self._closing, timeout)
            return self._synced

    def close(self) -> None:
        """Write what is queued, then stop. May be called twice."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._writer.join()
        self._abandon_segment()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: bool(self._queue) or self._closing)
                batch, self._queue, self._queued_bytes = self._queue, [], 0
                stop = self._closing and not batch
            if stop:
                return
            # An exporter that hung up is not waiting for an answer; from here on its record cannot be
            # withdrawn.
            batch = [pending for pending in batch if pending.done.set_running_or_notify_cancel()]
            if not batch:
                continue
            try:
                sequence, synced = self._write(batch)
            except (OSError, MemoryError) as error:
                reason = getattr(error, "strerror", None) or error
                self.last_error = f"the raw log in {self.folder} cannot be written: {reason}"
                for pending in batch:
                    pending.done.set_exception(LogUnavailable(self.last_error))
                continue
            with self._lock:
                self.last_error = ""
                self._synced = synced
                self._lock.notify_all()
            for number, pending in enumerate(batch, start=sequence):
                pending.done.set_result(number)

    def _write(self, batch: list[_Pending]) -> tuple[int, Position]:
        """Append and sync a batch; return the sequence of its first record and the place after its last."""
        if self._file < 0 or self._offset >= self._segment_bytes:
            self._open_segment()
        first, now = self._next_sequence, time.time_ns()
        data = bytearray()
        for number, pending in enumerate(batch, start=first):
            data += pack(pending.kind, pending.encoding, number, now, pending.payload)
            data += pending.payload
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            _sync(self._file)
        except OSError:
            # What is written is unknown, and after a failed sync the kernel may forget dirty pages: take
            # the bytes back as far as possible and never append to this file again.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._offset)
            self._abandon_segment()
            raise
        self._offset += len(data)
        self._next_sequence += len(batch)
        return first, Position(self._segment, self._offset)

    def _open_segment(self) -> None:
        self._abandon_segment()
        number = self._next_segment
        path = segments.path_of(self.folder, number)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            segments.sync_folder(self.folder)
        except OSError:
            os.close(handle)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        self._file, self._segment, self._offset = handle, number, 0
        self._next_segment = number + 1

    def _abandon_segment(self) -> None:
        if self._file >= 0:
            handle, self._file = self._file, -1
            try:
                os.close(handle)
            except OSError as error:
                print(f"handrail: closing a raw log segment: {error}", file=sys.stderr)
