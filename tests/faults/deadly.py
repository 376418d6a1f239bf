"""Failpoints: a process that is killed at one step, before it, in the middle of it or after it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from handrail_propagation.spool.files import Files

MOMENTS = ("before", "middle", "after")


class Failpoints(Files):
    """Asks before and after each call to the disk, and in the middle of a write, whether this is where it ends."""

    def __init__(self) -> None:
        self.steps = 0

    def is_due(self, moment: str) -> bool:
        """Whether it ends at this moment of the step that is under way."""
        raise NotImplementedError

    def end(self) -> NoReturn:
        """End."""
        raise NotImplementedError

    def around(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Count one step and make the call, unless this is where it ends."""
        self.steps += 1
        self._end_if("before")
        result = function(*arguments)
        self._end_if("after")
        return result

    def _end_if(self, moment: str) -> None:
        if self.is_due(moment):
            self.end()

    def write(self, descriptor: int, data: bytes) -> int:
        """A write may be half done."""
        return int(self.around(self._write, descriptor, data))

    def _write(self, descriptor: int, data: bytes) -> int:
        if self.is_due("middle"):
            os.write(descriptor, data[: len(data) // 2])
            self.end()
        return os.write(descriptor, data)

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


class Deadly(Failpoints):
    """Kills its process at one moment of one step, counted from 1; 0 is no step."""

    def __init__(self, step: int, moment: str) -> None:
        super().__init__()
        self._step = step
        self._moment = moment

    def is_due(self, moment: str) -> bool:
        """Whether this is the one."""
        return self.steps == self._step and moment == self._moment

    def end(self) -> NoReturn:
        """Be gone at once."""
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")
