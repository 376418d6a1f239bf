"""Finds or starts a RabbitMQ that carries messages: Debian's or any other installed `rabbitmq-server`.

A node of its own with nothing of the machine's: own ports on loopback, own data folder, node name, Erlang cookie
and port mapper (epmd), all gone with it. The machine's own RabbitMQ, running or not, is not touched.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import quote

from handrail_harness.errors import StackError
from handrail_harness.stack.process import Child
from handrail_harness.stack.redis import free_port

if TYPE_CHECKING:
    from handrail_harness.stack.certificates import ServerCertificate

_HOST = "127.0.0.1"
# Where packages put the script itself: the one on PATH changes the user and the log files (Debian, RPM).
_PACKAGED = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_USER = "handrail"


class RabbitMQServer:
    """A `rabbitmq-server` of our own on free loopback ports, with a password, nothing kept on disk.

    A context manager; `url` is valid between `start()` and `stop()`. With a `certificate` it also listens for
    TLS, at `tls_url`. `settings` are more lines of rabbitmq.conf (`frame_max`, `consumer_timeout`, ...).
    """

    def __init__(
        self,
        executable: str | None = None,
        *,
        certificate: ServerCertificate | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.executable = executable or find_executable()
        self.port = 0
        self.tls_port = 0
        self._certificate = certificate
        self._settings = dict(settings or {})
        self._password = secrets.token_urlsafe(18)
        self._folder: Path | None = None
        self._port_mapper: Child | None = None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """AMQP URL of the default virtual host, password included: for environments, never for logs."""
        return self._address("amqp", self.port)

    @property
    def tls_url(self) -> str:
        """The same over TLS; the client still has to be told whose certificates it believes."""
        if self._certificate is None:
            raise StackError("this RabbitMQ does not speak TLS; give it a certificate=")
        return self._address("amqps", self.tls_port)

    @property
    def pid(self) -> int:
        """Process id of the running server, 0 when it does not run."""
        return self._child.pid if self._child and self._child.running else 0

    def start(self, *, timeout: float = 90.0) -> RabbitMQServer:
        """Start the server and wait until it takes connections; raises `StackError` after `timeout` s."""
        self._folder = Path(tempfile.mkdtemp(prefix="handrail-rabbitmq-"))
        try:
            for attempt in (1, 2, 3):
                try:
                    self._start_once(self._folder, timeout)
                except StackError:
                    # Between finding the free ports and binding them, somebody else may have taken one.
                    if attempt == 3 or self._child is None or "eaddrinuse" not in self._child.log():
                        raise
                    self._end()
                else:
                    return self
        except BaseException:
            self.stop()
            raise
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """Stop the server and its port mapper, and remove its folder. May be called twice."""
        self._end()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def kill(self) -> None:
        """SIGKILL the server, as a machine that goes down would; `stop` still cleans up."""
        if self._child:
            self._child.kill()

    def __enter__(self) -> RabbitMQServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_once(self, folder: Path, timeout: float) -> None:
        self.port, self.tls_port, mapper_port, cluster_port = (free_port() for _ in range(4))
        config = folder / "rabbitmq.conf"
        config.touch(0o600)
        config.write_text(self._config(), encoding="ascii")
        plugins = folder / "enabled_plugins"
        plugins.write_text("[].\n", encoding="ascii")
        (folder / "env.conf").touch()  # in place of the machine's /etc/rabbitmq/rabbitmq-env.conf
        name = f"handrail-{secrets.token_hex(4)}@localhost"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RABBITMQ_")}
        environment |= {
            "HOME": str(folder),  # Erlang makes its cookie there
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),  # not in the folder that tests are run in
            "ERL_EPMD_PORT": str(mapper_port),
            "ERL_EPMD_ADDRESS": _HOST,
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_DIST_PORT": str(cluster_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            # Two schedulers, and the port between nodes on loopback like the others.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}",
            # The script then becomes the server, whose process id is what we signal.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        # One of our own, in the foreground: the one that Erlang starts by itself stays for ever.
        self._port_mapper = Child(
            [_port_mapper_executable(), "-address", _HOST, "-port", str(mapper_port)],
            log_path=folder / "epmd.log",
            env=environment,
            leftovers=[folder],
        )
        self._child = Child(
            [self.executable], log_path=folder / "rabbitmq.log", env=environment, leftovers=[folder]
        )
        self._child.wait_until(lambda: answers(self.url), what="rabbitmq-server", timeout=timeout)

    def _config(self) -> str:
        settings = {
            "listeners.tcp.local": f"{_HOST}:{self.port}",
            "default_user": _USER,
            "default_pass": self._password,
            "default_user_tags.administrator": "true",
            # The machine's disk is somebody else's to watch; a test must not be blocked by it.
            "disk_free_limit.absolute": "50MB",
            "log.console.level": "info",
        }
        if self._certificate is not None:
            settings |= {
                "listeners.ssl.local": f"{_HOST}:{self.tls_port}",
                "ssl_options.cacertfile": str(self._certificate.authority),
                "ssl_options.certfile": str(self._certificate.certificate),
                "ssl_options.keyfile": str(self._certificate.key),
                "ssl_options.verify": "verify_none",
            }
        settings |= self._settings
        return "".join(f"{name} = {value}\n" for name, value in settings.items())

    def _address(self, scheme: str, port: int) -> str:
        return f"{scheme}://{_USER}:{quote(self._password, safe='')}@{_HOST}:{port}//"

    def _end(self) -> None:
        # Nothing on its disk is wanted any more, so that its orderly shutdown of several seconds is not either.
        for child in (self._child, self._port_mapper):
            if child:
                child.kill()
        self._child = self._port_mapper = None


def find_executable() -> str:
    """Return the path of a `rabbitmq-server` script, of the system's package or on PATH; else `StackError`."""
    if os.access(_PACKAGED, os.X_OK):
        return str(_PACKAGED)
    on_path = shutil.which("rabbitmq-server")
    if on_path:
        return on_path
    raise StackError("no rabbitmq-server is installed; on Debian: apt-get install rabbitmq-server")


def answers(url: str, *, timeout: float = 2.0) -> bool:
    """Return whether a RabbitMQ accepts this URL's user and virtual host, within `timeout` seconds."""
    from kombu import Connection
    from kombu.exceptions import KombuError

    connection = Connection(url, connect_timeout=timeout)
    refused = (*connection.connection_errors, *connection.channel_errors)
    with contextlib.suppress(KombuError, OSError, *refused):
        # First only the port: kombu waits two seconds after a connection that was refused.
        socket.create_connection((connection.hostname, connection.port), timeout).close()
        connection.connect()
        connection.release()
        return True
    return False


def _port_mapper_executable() -> str:
    on_path = shutil.which("epmd")
    if on_path:
        return on_path
    found = sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
    if found:
        return str(found[-1])
    raise StackError("rabbitmq-server needs Erlang's port mapper, epmd, and there is none on PATH")
