"""The store of one data directory: lock, raw log, index and the thread between them.

<data dir>/lock  server.json  raw/*.seg  quarantine/*.bin  index.sqlite
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from handrail_harness.errors import StackError
from handrail_harness.store import segments
from handrail_harness.store.index import FILE_NAME, SQLiteIndex
from handrail_harness.store.indexer import Indexer
from handrail_harness.store.location import DATA_DIR_VARIABLE, DirectoryLock
from handrail_harness.store.rawlog import RawLog

RAW = "raw"
QUARANTINE = "quarantine"


class Store:
    """Opens `data_dir` for writing; `report` gets one line for whatever a person should know.

    Raises `StoreBusy` when another process has the directory, `StackError` when it cannot be used.
    """

    def __init__(self, data_dir: Path, report: Callable[[str], None]) -> None:
        self.data_dir = data_dir
        self._lock = DirectoryLock(data_dir)
        try:
            segments.private_folder(data_dir)
            self._lock.acquire()
            self.index = SQLiteIndex(data_dir / FILE_NAME)
            try:
                self._log = RawLog(
                    data_dir / RAW,
                    data_dir / QUARANTINE,
                    first_segment=self.index.position.segment + 1,
                    first_sequence=self.index.sequence + 1,
                )
            except BaseException:
                self.index.close()
                raise
        except (OSError, sqlite3.Error) as error:
            self._lock.release()
            raise StackError(f"{data_dir} cannot be used: {error}; set {DATA_DIR_VARIABLE}") from error
        if self.index.moved_aside:
            report(f"the index was unusable and is built anew; the old one is {self.index.moved_aside}")
        if self._log.repaired:
            self.index.note_damage(self._log.repaired)
            report(f"raw log repaired: {self._log.repaired}; the bytes are in {data_dir / QUARANTINE}")
        self._indexer = Indexer(self._log, self.index, report)

    def append(self, kind: int, encoding: int, payload: bytes) -> Future[int]:
        """Queue an export; the future gives its sequence once it is durable, or raises `LogUnavailable`."""
        return self._log.append(kind, encoding, payload)

    def wait_indexed(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until what is acknowledged now can be read; return whether it can."""
        return self._indexer.wait_for(self._log.synced, timeout)

    @property
    def last_error(self) -> str:
        """Why the log or the index cannot be written at the moment, `""` when both can."""
        return self._log.last_error or self._indexer.last_error

    def status(self) -> dict[str, Any]:
        """Return counts, damage and errors as a JSON-able dictionary."""
        damages = self.index.damages()
        quarantine = self.data_dir / QUARANTINE
        return {
            "data_dir": str(self.data_dir),
            **self.index.counts(),
            "indexed": self.index.position >= self._log.synced,
            "damaged": [str(damage) for damage in damages],
            "quarantined_files": sorted(path.name for path in quarantine.glob("*.bin")),
            "errors": [error for error in (self._log.last_error, self._indexer.last_error) if error],
        }

    def close(self) -> None:
        """Write and index what was taken, give the directory up."""
        self._log.close()
        self._indexer.wait_for(self._log.synced, timeout=5)
        self._indexer.close()
        self.index.close()
        self._lock.release()
