"""Runs one command and takes it along when its owner dies, however the owner died.

A script of its own, started by `process.Child` with `-I -S` (nothing of site-packages: it costs little). The
owner holds the write end of this process's standard input: end of file means that the owner is gone, even by
SIGKILL. PR_SET_PDEATHSIG on the command alone would not do: it follows the owner's *thread*, and spares
grandchildren.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

GRACE = 2.0  # seconds between SIGTERM and SIGKILL once the owner is gone
_PR_SET_PDEATHSIG = 1


def main(owner: int, pid_fd: int, leftovers: list[str], command: list[str]) -> int:
    """Run `command` in a session of its own; return its exit status (128 + number for a signal).

    `leftovers` are files and folders that the owner removes itself, unless it is killed.
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        _become(command, guard)
    os.write(pid_fd, f"{child}\n".encode("ascii"))
    os.close(pid_fd)
    status, orphaned = _watch(child, owner, woken)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # pool children that outlived their main process
    if orphaned:
        _remove(leftovers)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(command: list[str], guard: int) -> None:
    """In the forked child: turn into the command, or exit 127."""
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:
            os._exit(127)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.execvp(command[0], command)  # noqa: S606 - an argument list, no shell
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _watch(child: int, owner: int, woken: int) -> tuple[int, bool]:
    """Wait for the command to end, ending it when the owner goes; return its wait status and which."""
    deadline = 0.0
    lifeline = [0]
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status, bool(deadline)
        # The parent's id is looked at as well: a forked sibling of the owner may hold the pipe open.
        readable, _, _ = select.select([woken, *lifeline], [], [], 1.0)
        if woken in readable:
            os.read(woken, 4096)
        owner_gone = (0 in readable and not os.read(0, 4096)) or os.getppid() != owner
        if owner_gone and not deadline:
            lifeline = []
            deadline = time.monotonic() + GRACE
            _signal_group(child, signal.SIGTERM)
        elif deadline and time.monotonic() >= deadline:
            _signal_group(child, signal.SIGKILL)


def _remove(paths: list[str]) -> None:
    import shutil

    for path in paths:
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _signal_group(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, number)


if __name__ == "__main__":
    _split = sys.argv.index("--")
    raise SystemExit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:_split], sys.argv[_split + 1 :]))
