"""A child process that never outlives its owner, with its output in a file.

Shared by Redis, the receiver and workers; knows nothing about any of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from handrail_harness.errors import StackError

_GUARD = Path(__file__).with_name("guard.py")


class Child:
    """One command as a child process in a session of its own.

    `pid` is the command's own process id (a guard process sits between it and us, see `guard`). Its standard
    output and error go to `log_path`. `env` replaces the environment when given. `leftovers` are what the
    guard removes when this process is killed and cannot.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        leftovers: Sequence[Path] = (),
    ) -> None:
        self.command = tuple(command)
        guard = [sys.executable, "-I", "-S", str(_GUARD)]
        self.log_path = log_path
        read_end, write_end = os.pipe()
        try:
            # Not world-readable: what a child prints may hold addresses with passwords.
            log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                self._guard = subprocess.Popen(
                    [
                        *guard,
                        str(os.getpid()),
                        str(write_end),
                        *(str(path.absolute()) for path in leftovers),
                        "--",
                        *command,
                    ],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=None if env is None else dict(env),
                    cwd=cwd,
                    pass_fds=(write_end,),
                    start_new_session=True,
                )
            finally:
                os.close(log)
                os.close(write_end)
            with open(read_end, closefd=False) as pipe:
                line = pipe.readline()
        except OSError as error:
            raise StackError(f"{command[0]} could not be started: {error}") from error
        finally:
            os.close(read_end)
        if not line:
            self.close()
            raise StackError(f"{command[0]} could not be started: {self.log_tail(1) or 'no reason given'}")
        self.pid = int(line)

    @property
    def running(self) -> bool:
        """Whether the command is still running."""
        return self._guard.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Exit status of the command, 128 + signal number when a signal ended it, `None` while it runs."""
        return self._guard.poll()

    def send_signal(self, number: int) -> None:
        """Send a signal to the command's main process; nothing happens when it has ended."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the command to end; return whether it did."""
        try:
            self._guard.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait_until(self, ready: Callable[[], bool], *, what: str, timeout: float, lines: int = 1) -> None:
        """Wait until `ready()` is true.

        Raises `StackError`, naming `what` and the last `lines` lines of the log, when the command ends or `timeout`
        seconds pass first. The command is not stopped then: the caller owns it.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running:
                raise StackError(f"{what} ended with status {self.exit_status}: {self._last_words(lines)}")
            if time.monotonic() >= deadline:
                raise StackError(f"{what} was not ready within {timeout:g} s: {self._last_words(lines)}")
            time.sleep(0.02)

    def close(self, *, grace: float = 10.0) -> None:
        """End the command: SIGTERM, after `grace` seconds SIGKILL. May be called twice."""
        self.send_signal(signal.SIGTERM)
        if not self.wait(grace):
            self.send_signal(signal.SIGKILL)
            self._guard.wait()
        if self._guard.stdin and not self._guard.stdin.closed:
            self._guard.stdin.close()

    def kill(self) -> None:
        """SIGKILL the command; what is left of its session follows."""
        self.send_signal(signal.SIGKILL)
        self._guard.wait()
        self.close()

    def log(self) -> str:
        """Return everything the command has printed so far."""
        try:
            return self.log_path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def log_tail(self, lines: int = 20) -> str:
        """Return the last `lines` lines of what the command has printed."""
        return "\n".join(self.log().rstrip().splitlines()[-lines:])

    def _last_words(self, lines: int) -> str:
        """Return the last `lines` lines in one, without the frames of tracebacks."""
        told = [line for line in self.log_tail(lines).splitlines() if lines == 1 or not line.startswith(" ")]
        return " ".join(" ".join(told).split()) or "it printed nothing"
