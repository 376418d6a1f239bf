"""How much a spool may still take. Its folder is shared: every process measures it, and writes a little in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from handrail_propagation.spool.files import Files

_RETRY_AFTER: Final = 0.2
"""Seconds until a full or failing disk is looked at again for a record that may be dropped."""
_STEPS: Final = 256
"""What is free is written in so many steps or more, each of which measures again."""
_LEAST_STEP: Final = 4096


class Room:
    """What `folder` may still take of `max_size` bytes, all files of it together. Used under its writer's lock.

    Above three quarters reads are dropped, above seven eighths no effect is let through, and the rest is for what
    must not be lost. `complain` is told of a folder that cannot be measured.
    """

    def __init__(self, folder: Path, max_size: int, files: Files, complain: Callable[[str], object]) -> None:
        self.max_size = max_size
        self.left = 0
        """Bytes that may be written until the folder is measured again."""
        self.used = 0
        """Bytes that the files took when they were last measured."""
        self._folder = folder
        self._files = files
        self._complain = complain
        self._closed_until = 0.0

    def is_full(self, *, droppable: bool) -> bool:
        """Measure the folder; return whether it has no room for a record, and let the next ones in if it has."""
        if droppable and time.monotonic() < self._closed_until:
            return True
        reads_until = self.max_size * 3 // 4
        used = self._measure()
        if used >= reads_until:
            self._close()
            return droppable or used >= self.max_size
        # Many processes do as this one does, and together they must not fill what is left before they look again
        self.left = max(_LEAST_STEP, (reads_until - used) // _STEPS)
        return False

    def refuses_effects(self) -> bool:
        """Return whether the records of another effect might not fit."""
        return self.left <= 0 and self._measure() > self.max_size * 7 // 8

    def fail(self) -> None:
        """A write has failed: measure before the next one, and try none for a while that may be dropped."""
        self.left = 0
        self._close()

    def _close(self) -> None:
        self._closed_until = time.monotonic() + _RETRY_AFTER

    def _measure(self) -> int:
        try:
            self.used = self._files.used(self._folder)
        except OSError as error:
            self._complain(f"{self._folder}: {error.strerror}")
        return self.used
