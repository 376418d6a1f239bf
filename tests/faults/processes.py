"""Processes that are there to be killed, and what outlives them."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_SLOT = struct.Struct("<QQ")


class Progress:
    """Memory that outlives its writers: what each of them was told to be recorded."""

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, _SLOT.size * slots)
        self.slots = slots

    def note(self, slot: int, writer: int, number: int) -> None:
        """Keep a pair of numbers, in place of the one before."""
        _SLOT.pack_into(self._memory, slot * _SLOT.size, writer, number)

    def read(self, slot: int) -> tuple[int, int]:
        """Return the pair of a slot."""
        writer, number = _SLOT.unpack_from(self._memory, slot * _SLOT.size)
        return writer, number

    def seen(self) -> dict[int, int]:
        """Return the highest number of each writer."""
        pairs = [self.read(slot) for slot in range(self.slots)]
        return {writer: number for writer, number in pairs if writer}


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder in memory, where there is one: what a killed process has written stays, and a sync costs nothing."""
    shared = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        yield Path(name)


def fork(body: Callable[[], None]) -> int:
    """Run `body` in a child; return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body()
            status = 0
        except BaseException:  # noqa: BLE001 - the child ends here, whatever it was
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return pid


def kill(pids: Iterable[int]) -> None:
    """SIGKILL."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def wait_gone(pids: Iterable[int]) -> None:
    """Return when the processes have ended; those that are not ours to wait for lose their parent first."""
    for pid in pids:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            while state(pid) not in ("", "Z"):
                time.sleep(0.0005)


def state(pid: int) -> str:
    """Return a process's state as a letter of proc(5), nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def peak_memory(pid: int) -> int:
    """Return the most memory that a process has had so far, in bytes (VmHWM in proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
