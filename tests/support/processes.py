"""Processes of others that a test kills or waits for: any of them may have ended a moment ago."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable

import psutil


def kill(pids: Iterable[int]) -> None:
    """SIGKILL each, in this order. One may have ended with the one before it, and been reaped by its guard."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
