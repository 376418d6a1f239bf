"""Who works on an invocation: a text that names the process, and a heartbeat while it works.

A holder that died on this machine is recognised at once; one elsewhere when its lease has run out.
"""

from __future__ import annotations

import functools
import logging
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from handrail_agents.errors import JournalError

SECONDS: Final = 15
_RENEW_EVERY: Final = SECONDS / 3

_log = logging.getLogger(__name__)


def new_holder() -> str:
    """Return a text for a lease of this process: machine, process id, its start time, a nonce."""
    pid = os.getpid()
    return f"{_machine()} {pid} {_started(pid) or '-'} {secrets.token_hex(8)}"


def holder_is_dead(holder: str) -> bool:
    """Return whether the holder is certainly gone: a process of this machine that no longer exists."""
    parts = holder.split(" ")
    if len(parts) != 4 or parts[0] != _machine() or not _machine() or not parts[1].isdecimal():
        return False
    return (_started(int(parts[1])) or "-") != parts[2]


class Heartbeat:
    """Renews a lease in a thread until it is left; a context manager. `lost`: somebody took over."""

    def __init__(self, renew: Callable[[], bool]) -> None:
        self._renew = renew
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="handrail-lease", daemon=True)
        self.lost = False

    def _beat(self) -> None:
        while not self._stop.wait(_RENEW_EVERY):
            try:
                if not self._renew():
                    self.lost = True
                    return
            except JournalError as error:
                # The lease may still be there when Redis answers again; every write checks it anyway.
                _log.warning("%s", error)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=_RENEW_EVERY)


@functools.cache
def _machine() -> str:
    """Boot and process-id namespace: where a process id means the same. Empty where /proc does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Start time of a process in clock ticks, `None` when it does not exist or is a zombie."""
    try:
        # Field 2 is the command in parentheses and may hold anything; count from its end (proc(5)).
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = line.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else fields[19]
