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
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from handrail_harness.errors import StackError
from handrail_harness.stack.process import Child
from handrail_harness.stack.server import HOST, LocalServer, free_port

if TYPE_CHECKING:
    from handrail_harness.stack.certificates import ServerCertificate

# Where packages put the script itself: the one on PATH changes the user and the log files (Debian, RPM).
_PACKAGED = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_USER = "handrail"
_ORDERLY = 30.0  # seconds that writing everything down may take


class RabbitMQServer(LocalServer):
    """A `rabbitmq-server` of our own on free loopback ports, with a password, nothing kept on disk.

    A context manager; `url` is valid between `start()` and `stop()`. With a `certificate` it also listens for
    TLS, at `tls_url`. `settings` are more lines of rabbitmq.conf (`frame_max`, `consumer_timeout`, ...). A restart
    that keeps its data keeps what is durable: Celery's queues, and its messages unless they are sent as transient.
    """

    name = "rabbitmq-server"
    patience = 90.0
    _port_taken = "eaddrinuse"

    def __init__(
        self,
        executable: str | None = None,
        *,
        certificate: ServerCertificate | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.executable = executable or find_executable()
        self.tls_port = self._mapper_port = self._cluster_port = 0
        self._node = ""
        self._certificate = certificate
        self._settings = dict(settings or {})
        self._port_mapper: Child | None = None

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

    def _choose(self) -> None:
        self.port, self.tls_port, self._mapper_port, self._cluster_port = (free_port() for _ in range(4))
        self._node = f"handrail-{secrets.token_hex(4)}@localhost"  # its data is kept under its name

    def _launch(self, folder: Path, timeout: float) -> None:
        config = folder / "rabbitmq.conf"
        config.touch(0o600)
        config.write_text(self._config(), encoding="ascii")
        plugins = folder / "enabled_plugins"
        plugins.write_text("[].\n", encoding="ascii")
        (folder / "env.conf").touch()  # in place of the machine's /etc/rabbitmq/rabbitmq-env.conf
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RABBITMQ_")}
        environment |= {
            "HOME": str(folder),  # Erlang makes its cookie there
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),  # not in the folder that tests are run in
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._cluster_port),
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
            [_port_mapper_executable(), "-address", HOST, "-port", str(self._mapper_port)],
            log_path=folder / "epmd.log",
            env=environment,
            leftovers=[folder],
        )
        self._child = Child(
            [self.executable], log_path=folder / "rabbitmq.log", env=environment, leftovers=[folder]
        )
        self._child.wait_until(lambda: answers(self.url), what=self.name, timeout=timeout)

    def _config(self) -> str:
        settings = {
            "listeners.tcp.local": f"{HOST}:{self.port}",
            "default_user": _USER,
            "default_pass": self.password,
            "default_user_tags.administrator": "true",
            # The machine's disk is somebody else's to watch; a test must not be blocked by it.
            "disk_free_limit.absolute": "50MB",
            "log.console.level": "info",
        }
        if self._certificate is not None:
            settings |= {
                "listeners.ssl.local": f"{HOST}:{self.tls_port}",
                "ssl_options.cacertfile": str(self._certificate.authority),
                "ssl_options.certfile": str(self._certificate.certificate),
                "ssl_options.keyfile": str(self._certificate.key),
                "ssl_options.verify": "verify_none",
            }
        settings |= self._settings
        return "".join(f"{name} = {value}\n" for name, value in settings.items())

    def _address(self, scheme: str, port: int) -> str:
        return f"{scheme}://{_USER}:{quote(self.password, safe='')}@{HOST}:{port}//"

    def _forget(self, folder: Path) -> None:
        shutil.rmtree(folder / "data", ignore_errors=True)

    def _end(self, *, orderly: bool) -> None:
        if orderly and self._child:
            self.resume()
            self._child.close(grace=_ORDERLY)
        # Where nothing on its disk is wanted any more, its orderly shutdown of several seconds is not either.
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
