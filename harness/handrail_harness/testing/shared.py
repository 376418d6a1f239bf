"""One stack for all xdist workers of a session: whoever needs it first starts its keeper, the last one ends it.

Members hold a shared lock on a file; the keeper stops the stack when it gets that lock for itself. A lock goes with
its process, also by SIGKILL, so a killed session leaves no stack behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from handrail_harness.errors import StackError
from handrail_harness.testing.folders import MEMBERS

STATE, START, LOG = "state.json", "start.lock", "keeper.log"
_PATIENCE = 90.0  # seconds for a stack to start: containers take the longest


class Shared:
    """The shared stack of one session; `folder` is the same in all of its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._membership: IO[bytes] | None = None

    def join(self, kind: str) -> dict[str, str]:
        """Become a member, starting the stack if there is none; return where it is. Raises `StackError`."""
        while True:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError), open(self.folder / START, "wb") as start:
                fcntl.flock(start, fcntl.LOCK_EX)
                self._membership = open(self.folder / MEMBERS, "wb")  # noqa: SIM115 - closed by leave()
                fcntl.flock(self._membership, fcntl.LOCK_SH)
                if not (self.folder / MEMBERS).exists():
                    continue  # the last member has just left, and the keeper took the folder along
                state = read_state(self.folder)
                if state is None:
                    state = self._start(kind)
                break
        if state["kind"] != kind:
            self.leave()
            raise StackError(
                f"this session's stack is {state['kind']}, not {kind}; use one tier in all workers"
            )
        return state

    def leave(self) -> None:
        """Be no member any more. May be called twice."""
        if self._membership is not None:
            self._membership.close()
            self._membership = None

    def _start(self, kind: str) -> dict[str, str]:
        log = self.folder / LOG
        command = [sys.executable, "-m", "handrail_harness.testing.keeper", str(self.folder), kind]
        with open(log, "ab") as output:
            keeper = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=os.environ.copy(),
            )
        deadline = time.monotonic() + _PATIENCE
        while (state := read_state(self.folder)) is None:
            if keeper.poll() is not None or time.monotonic() > deadline:
                words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                raise StackError(
                    f"the session's stack did not start: {words[-1] if words else 'no reason given'}"
                )
            time.sleep(0.02)
        # It outlives this process where others are members: the operating system reaps it then.
        keeper.returncode = 0
        return state


def read_state(folder: Path) -> dict[str, str] | None:
    """Return what the keeper wrote when its stack was up, `None` before that and after its end."""
    with contextlib.suppress(OSError, ValueError):
        found: dict[str, str] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return found
    return None
