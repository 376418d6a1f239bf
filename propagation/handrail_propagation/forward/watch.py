"""Whether something has come into a spool folder since it was read: a few `stat` calls in place of reading it again."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_COARSE: Final = 50_000_000
"""Nanoseconds; a kernel gives changes that are less than a tick (up to 10 ms) apart the same time."""


class Watch:
    """What a folder looked like just before it was read.

    New segments change the folder's time; only the last segment of a living writer grows.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._at = time.monotonic()
        self._time = os.stat(folder).st_mtime_ns
        self._settled = abs(time.time_ns() - self._time) > _COARSE
        self._sizes: list[tuple[Path, int]] = []

    def remember(self, sizes: Mapping[Path, int]) -> None:
        """Take down the sizes, in bytes, that the files that may grow were read to."""
        self._sizes = list(sizes.items())

    @property
    def age(self) -> float:
        """Seconds since the folder was read."""
        return time.monotonic() - self._at

    def has_moved(self) -> bool:
        """Whether there is more to read, or may be."""
        try:
            return (
                not self._settled
                or os.stat(self._folder).st_mtime_ns != self._time
                or any(os.stat(path).st_size != size for path, size in self._sizes)
            )
        except OSError:
            return True
