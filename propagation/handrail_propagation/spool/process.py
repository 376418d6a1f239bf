"""The spool as a process sees it: one writer per process, also after a fork, in every kind of pool."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from handrail_propagation.errors import ConfigurationError
from handrail_propagation.spool.files import FILES, Files
from handrail_propagation.spool.identity import Identity
from handrail_propagation.spool.writer import DEFAULT_MAX_SIZE, Writer


class Spool:
    """A spool folder, and this process's writer into it, which comes into being with its first record."""

    def __init__(
        self,
        folder: Path,
        *,
        max_size: int = DEFAULT_MAX_SIZE,
        segment_size: int | None = None,
        files: Files = FILES,
    ) -> None:
        """Create the folder (mode 0700) if need be.

        Raises `ConfigurationError` when it cannot be used, or when others may write into it.
        """
        self.folder = folder.absolute()
        self._max_size = max_size
        self._segment_size = segment_size
        self._files = files
        self._lock = threading.Lock()
        self.current: Writer | None = None
        """This process's writer, once it has one."""
        self._pid = 0
        self.on_first_record: Callable[[], None] | None = None
        """Called in each process that begins to write."""
        try:
            files.make_folder(self.folder)
            check_private(self.folder)
        except OSError as error:
            raise ConfigurationError(f"the spool {folder} cannot be used: {error.strerror}.") from None
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise ConfigurationError(f"the spool {folder} cannot be written to by this user.")
        _spools.add(self)

    def writer(self) -> Writer:
        """Return this process's writer."""
        # No look at the process id, which costs a system call: a forked child has no writer, `_forked` sees to that
        return self.current or self._new_writer()

    def written(self) -> tuple[int, int] | None:
        """Return this process's writer id and the number of its last record; `None` before the first."""
        writer = self.current
        return (writer.id, writer.recorded) if writer is not None and self._pid == os.getpid() else None

    def close(self) -> None:
        """End this process's writer in good order, if it has one."""
        if self.current is not None and self._pid == os.getpid():
            self.current.close()

    def _new_writer(self) -> Writer:
        first = False
        with self._lock:
            pid = os.getpid()
            if self.current is None or self._pid != pid:
                self.current = Writer(
                    self.folder,
                    Identity.here().encode(),
                    max_size=self._max_size,
                    segment_size=self._segment_size,
                    files=self._files,
                )
                self._pid = pid
                first = True
            writer = self.current
        if first and self.on_first_record is not None:
            self.on_first_record()
        return writer

    def _forked(self) -> None:
        """In a child: another thread of the parent may have held any of these locks."""
        self._lock = threading.Lock()
        inherited, self.current = self.current, None
        if inherited is not None:
            inherited.abandon()


def check_private(folder: Path) -> None:
    """Raise `ConfigurationError` when others may write into a spool folder, `OSError` when it cannot be looked at."""
    mode = folder.stat().st_mode
    if mode & 0o022:
        raise ConfigurationError(
            f"other users may write into the spool {folder} (mode {mode & 0o777:o}); chmod 700 it."
        )


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


def _after_fork() -> None:
    for spool in list(_spools):
        spool._forked()


os.register_at_fork(after_in_child=_after_fork)
