"""A server of one's own as a child process: a folder, a port and a password of its own, all gone with it.

What Redis and RabbitMQ share; how each is configured and when it answers is theirs.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import socket
import tempfile
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from handrail_harness.errors import StackError
from handrail_harness.stack.process import Child
from handrail_harness.stack.service import Service

HOST = "127.0.0.1"
_ATTEMPTS = 3
_LOWEST = 20_000
_GIVEN_AWAY = Path("/proc/sys/net/ipv4/ip_local_port_range")


class LocalServer(Service):
    """One server on free loopback ports, between `start` and `stop`; it keeps nothing on disk."""

    name: ClassVar[str]
    """As its users know it, such as `redis-server`."""
    _port_taken: ClassVar[str]
    """What it prints when a port is somebody else's."""

    def __init__(self, password: str | None = None) -> None:
        self.port = 0
        self.password = password or secrets.token_urlsafe(18)
        self._folder: Path | None = None
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server, 0 when it does not run."""
        return self._child.pid if self._child and self._child.running else 0

    def stop(self) -> None:
        """Stop the server and remove its folder. May be called twice."""
        self._end(orderly=False)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def kill(self) -> None:
        """SIGKILL the server, as a machine that goes down would; `stop` still cleans up."""
        if self._child:
            self._child.kill()

    def restart(self, *, keep: bool = True) -> None:
        """Stop the server and start it again on the same port; with `keep` it has the same data, else none.

        Raises `StackError` when it does not come back, or does not run.
        """
        if self._folder is None or not self.pid:
            raise StackError(f"{self.name} does not run, so it cannot be restarted; start it first")
        if keep:
            self._save()
        self._end(orderly=keep)
        if not keep:
            self._forget(self._folder)
        self._launch(self._folder, self.patience)

    def pause(self) -> None:
        """Let the server hang with its connections open: SIGSTOP."""
        if self._child:
            self._child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on: SIGCONT."""
        if self._child:
            self._child.send_signal(signal.SIGCONT)

    def _begin(self, timeout: float) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"handrail-{self.name.removesuffix('-server')}-"))
        for attempt in range(1, _ATTEMPTS + 1):
            self._choose()
            try:
                self._launch(self._folder, timeout)
            except StackError:
                # Between finding a free port and binding it, somebody else may have taken it.
                taken = self._child is not None and self._port_taken in self._child.log()
                if attempt == _ATTEMPTS or not taken:
                    raise
                self._end(orderly=False)
            else:
                return

    def _choose(self) -> None:
        """Find free ports, and what else is new with each attempt."""
        self.port = free_port()

    @abstractmethod
    def _launch(self, folder: Path, timeout: float) -> None:
        """Start it in `folder` on the chosen ports and wait until it answers; `StackError` when it does not."""

    @abstractmethod
    def _end(self, *, orderly: bool) -> None:
        """End its processes, keeping the folder; with `orderly` so that what it has to keep is on disk."""

    def _save(self) -> None:
        """Make it write what it only does when asked, before an orderly end."""

    @abstractmethod
    def _forget(self, folder: Path) -> None:
        """Remove its data from `folder`."""


def free_port() -> int:
    """Return a TCP port that was free on the loopback interface a moment ago.

    Below those that the kernel gives away by itself, where there are such: else any connection or server of this
    machine may be given it before it is used, or while a server restarts.
    """
    below = range(_LOWEST, _first_given_away())
    for port in [*secrets.SystemRandom().sample(below, min(_ATTEMPTS, len(below))), 0]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            found: int = probe.getsockname()[1]
            return found
    raise StackError("no TCP port is free on the loopback interface")


def _first_given_away() -> int:
    try:
        return int(_GIVEN_AWAY.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0  # not Linux
