"""The thread that brings the index up to the raw log, in batches, for as long as the store is open."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable

from handrail_harness.store.base import Damage, Position
from handrail_harness.store.index import SQLiteIndex
from handrail_harness.store.rawlog import RawLog
from handrail_harness.store.segments import batches

_RETRY = 1.0  # seconds until the next attempt when the index cannot be written


class Indexer:
    """Follows `log` and fills `index`; `report` gets one line for whatever a person should know."""

    def __init__(self, log: RawLog, index: SQLiteIndex, report: Callable[[str], None]) -> None:
        self._log = log
        self._index = index
        self._report = report
        self._changed = threading.Condition()
        self._stopping = False
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name="handrail-indexer", daemon=True)
        self._thread.start()

    def wait_for(self, position: Position, timeout: float) -> bool:
        """Wait up to `timeout` seconds until all before `position` is indexed; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._index.position >= position, timeout)

    def close(self) -> None:
        """Stop after the current batch. What is not indexed then will be at the next start."""
        self._stopping = True
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            target = self._log.wait_beyond(self._index.position, timeout=0.5)
            if target <= self._index.position:
                if self._log.closed:
                    return
                continue
            try:
                before = self._index.position
                self._catch_up(target)
                if self._index.position == before:
                    raise OSError(f"nothing of segment {target.segment} of the raw log can be read")
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):  # locked or full
                    self._fail(f"the index cannot be written: {error}")
                else:
                    self._rebuild(error)
            except OSError as error:
                self._fail(f"the index cannot be written: {error}")
            else:
                self.last_error = ""

    def _catch_up(self, target: Position) -> None:
        for batch in batches(self._log.folder, self._index.position, target):
            for item in batch:
                if isinstance(item, Damage):
                    self._report(f"raw log damaged: {item}")
            self._index.insert(batch)
            with self._changed:
                self._changed.notify_all()
            if self._stopping:
                return

    def _rebuild(self, error: Exception) -> None:
        try:
            self._index.rebuild()
        except (sqlite3.Error, OSError) as second:
            self._fail(f"the index is unusable ({error}) and cannot be built anew: {second}")
        else:
            self._report(f"the index was unusable ({error}) and is built anew from the raw log")

    def _fail(self, message: str) -> None:
        if message != self.last_error:
            self._report(f"{message}; trying again every {_RETRY:g} s")
        self.last_error = message
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, _RETRY)
