"""Deletes what every destination has acknowledged: oldest segment first, never before the ledgers on disk say so."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from handrail_propagation.forward import carry
from handrail_propagation.forward.quarantine import Quarantine
from handrail_propagation.forward.shipper import Shipper
from handrail_propagation.forward.stream import Stream
from handrail_propagation.spool.files import FILES, Files, is_full
from handrail_propagation.spool.reader import SegmentFile, segments
from handrail_propagation.spool.segments import UNFINISHED, carried_path

_log = logging.getLogger(__name__)
_UNFINISHED_AGE: Final = 60.0
"""Seconds; a segment gets its first record, and its name, within milliseconds."""


class Cleaner:
    """Keeps one spool's folder small, for all of its destinations together."""

    def __init__(self, folder: Path, quarantine: Quarantine, files: Files = FILES) -> None:
        self._folder = folder
        self._quarantine = quarantine
        self._files = files
        self._lock = threading.Lock()
        self._swept = 0.0
        self._done: list[tuple[int, int, bool]] | None = None
        """How far the ledgers were when nothing was left to delete."""

    def clean(self, shippers: Sequence[Shipper]) -> None:
        """Delete what may be deleted; does nothing while another thread is at it."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            saved = [
                (writer, entry.cursor.index, entry.closed)
                for shipper in shippers
                for writer, entry in shipper.saved_writers.items()
            ]
            if saved != self._done:
                self._done = None
                left = [self._clean(*item, shippers) for item in segments(self._folder).items()]
                self._done = None if any(left) else saved
            self._sweep()
        except OSError as error:
            _log.error("segments could not be deleted: %s", error)
        finally:
            self._lock.release()

    def _clean(self, writer: int, files: list[SegmentFile], shippers: Sequence[Shipper]) -> bool:
        """Delete what may be deleted of one writer; return whether there is more that only needs time."""
        streams: list[Stream] = []
        for shipper in shippers:
            with shipper.lock:
                stream = shipper.streams.get(writer)
                saved = shipper.saved_writers.get(writer)
                if stream is None or saved is None:
                    return True
                streams.append(stream)
        saved_entries = [shipper.saved_writers[writer] for shipper in shippers]
        until = min(entry.cursor for entry in saved_entries).index
        is_over = all(entry.closed for entry in saved_entries)
        if any(
            stream.is_needed(until + is_over, shipper.has_closed)
            for stream, shipper in zip(streams, shippers, strict=True)
        ):
            return True
        if is_over:
            # First: without segments nobody looks for it
            self._files.unlink(carried_path(self._folder, writer))
            for file in files:
                if file.index <= until:  # else it has gone on, and is only taken for gone
                    self._let_go(file)
            return False  # each ledger adds it to its totals when it finds the segments gone
        done = [file for file in files if file.index < until]
        if not done:
            return False
        # After a restart they are read again, for the spans that are open in them: by each destination on its own
        behind_first = sorted(zip(saved_entries, streams, strict=True), key=lambda pair: pair[0].cursor)
        carried = [stream.carried(until) for _, stream in behind_first if not stream.closed]
        starts = carried[0] if carried else None
        if starts is None or None in carried:
            return True
        try:
            carry.save(self._folder, writer, starts, self._files)
        except OSError as error:
            if not is_full(error):
                raise
            # There is room once the segments are gone; a kill right here loses the ends of spans that are open
            for file in done:
                self._let_go(file)
            carry.save(self._folder, writer, starts, self._files)
        for file in done:
            self._let_go(file)
        for stream in streams:
            stream.deleted(until)
        return False

    def _let_go(self, file: SegmentFile) -> None:
        if self._quarantine.has(file.path):
            self._quarantine.keep(file.path)
        else:
            self._files.unlink(file.path)

    def _sweep(self) -> None:
        """Delete segments that never got their first record, because their writer died."""
        now = time.time()
        if now - self._swept < _UNFINISHED_AGE:
            return
        self._swept = now
        for path in self._folder.glob(f"*{UNFINISHED}"):
            with contextlib.suppress(FileNotFoundError):
                if now - path.stat().st_mtime > _UNFINISHED_AGE:
                    self._files.unlink(path)
