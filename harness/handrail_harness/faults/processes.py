"""Stopping processes in their tracks and letting them go on, as a machine that hangs would."""

from __future__ import annotations

import contextlib
import os
import signal


def stop(pid: int) -> list[int]:
    """SIGSTOP a process and everything below it; return the process ids, for `go_on`."""
    import psutil

    process = psutil.Process(pid)
    os.kill(pid, signal.SIGSTOP)  # first: it starts no more children then
    below = [child.pid for child in process.children(recursive=True)]
    for child in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGSTOP)
    return [pid, *below]


def go_on(pids: list[int]) -> None:
    """SIGCONT processes, those below first."""
    for pid in reversed(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
