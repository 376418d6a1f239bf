"""Failpoints: a process that is killed at one step, before it, in the middle of it or after it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handrail_propagation.spool.files import Files

MOMENTS = ("before", "middle", "after")


class Deadly(Files):
    """Kills its process at one call to the disk; "middle" is half of a write."""

    def __init__(self, step: int, moment: str) -> None:
        self._step = step
        self._moment = moment
        self.steps = 0

    def around(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Count one step and make the call, unless this is where it ends."""
        self.steps += 1
        self._end_if("before")
        result = function(*arguments)
        self._end_if("after")
        return result

    def _end_if(self, moment: str) -> None:
        if self.steps == self._step and self._moment == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(self, descriptor: int, data: bytes) -> int:
        """A write may be half done."""
        if self.steps + 1 == self._step and self._moment == "middle":
            os.write(descriptor, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return int(self.around(super().write, descriptor, data))

    def make_folder(self, folder: Path) -> None:
        self.around(super().make_folder, folder)

    def create(self, path: Path) -> int:
        return int(self.around(super().create, path))

    def sync(self, descriptor: int) -> None:
        self.around(super().sync, descriptor)

    def sync_path(self, path: Path) -> None:
        self.around(super().sync_path, path)

    def sync_folder(self, folder: Path) -> None:
        self.around(super().sync_folder, folder)

    def rename(self, old: Path, new: Path) -> None:
        self.around(super().rename, old, new)

    def unlink(self, path: Path) -> None:
        self.around(super().unlink, path)

    def close(self, descriptor: int) -> None:
        self.around(super().close, descriptor)
