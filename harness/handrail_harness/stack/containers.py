"""The stack in containers: Redis and Jaeger through testcontainers, from the official images.

Waiting is our own: a container that died is noticed at once and reported with its last log lines, where
testcontainers would go on polling it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from handrail_harness.errors import StackError
from handrail_harness.printable import printable
from handrail_harness.stack.embedded import without_proxy
from handrail_harness.stack.redis import URL_VARIABLE, answers

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

    from handrail_harness.sources.jaeger import JaegerSource

REDIS_IMAGE = "redis:7.4"
JAEGER_IMAGE = "jaegertracing/jaeger:2.20.0"
REDIS_IMAGE_VARIABLE = "HANDRAIL_REDIS_IMAGE"
JAEGER_IMAGE_VARIABLE = "HANDRAIL_JAEGER_IMAGE"

_REDIS_PORT = 6379
_JAEGER_PORTS = {"ui": 16686, "otlp_grpc": 4317, "otlp_http": 4318, "status": 13133}
_LOG_LINES = 12
_ALIVE = ("created", "running")


class ContainerStack:
    """Redis and Jaeger in containers of their own, on free loopback ports; a context manager.

    Images are the arguments, else HANDRAIL_REDIS_IMAGE and HANDRAIL_JAEGER_IMAGE, else the official ones that
    this release was tested with. Raises `StackError` in one line when no Docker daemon answers, an image
    cannot be had, or a container dies.
    """

    def __init__(self, *, redis_image: str | None = None, jaeger_image: str | None = None) -> None:
        self.redis_image = redis_image or os.environ.get(REDIS_IMAGE_VARIABLE) or REDIS_IMAGE
        self.jaeger_image = jaeger_image or os.environ.get(JAEGER_IMAGE_VARIABLE) or JAEGER_IMAGE
        self._redis: Container | None = None
        self._jaeger: Container | None = None

    def start(self, *, timeout: float = 60.0) -> ContainerStack:
        """Start both and wait until they answer, each within `timeout` s; a failure leaves nothing."""
        try:
            self._jaeger = Container(self.jaeger_image, ports=list(_JAEGER_PORTS.values()))
            self._jaeger.environment["JAEGER_LISTEN_HOST"] = "0.0.0.0"  # noqa: S104 - inside the container
            self._redis = Container(self.redis_image, ports=[_REDIS_PORT])
            self._jaeger.start()
            self._redis.start()
            self._redis.wait_until(lambda: answers(self.redis_url), timeout=timeout)
            self._jaeger.wait_until(self._jaeger_healthy, timeout=timeout)
        except BaseException as error:
            try:
                self.stop()
            except StackError as left:
                error.add_note(str(left))
            raise
        return self

    def stop(self) -> None:
        """Stop and remove both containers with their volumes. May be called twice.

        Raises `StackError` when Docker does not remove one, after it has tried the other.
        """
        containers = [container for container in (self._redis, self._jaeger) if container is not None]
        self._redis = self._jaeger = None
        problems = []
        for container in containers:
            try:
                container.stop()
            except StackError as error:
                problems.append(str(error))
        if problems:
            raise StackError("; ".join(problems))

    @property
    def redis_url(self) -> str:
        """URL of the Redis, database 0."""
        return f"redis://{self._started(self._redis).address(_REDIS_PORT)}/0"

    @property
    def jaeger_url(self) -> str:
        """Address of Jaeger's user interface and query API."""
        return f"http://{self._started(self._jaeger).address(_JAEGER_PORTS['ui'])}"

    @property
    def otlp_endpoint(self) -> str:
        """Base URL for OTLP over HTTP, as OTEL_EXPORTER_OTLP_ENDPOINT takes it."""
        return f"http://{self._started(self._jaeger).address(_JAEGER_PORTS['otlp_http'])}"

    def source(self) -> JaegerSource:
        """Return a new `Source` on this stack's Jaeger; the caller closes it."""
        from handrail_harness.sources.jaeger import JaegerSource

        return JaegerSource(self.jaeger_url)

    def environ(self) -> dict[str, str]:
        """Return the variables that make a producer or worker use this stack; add them to its environment."""
        return container_environ(self.redis_url, self.otlp_endpoint)

    def __enter__(self) -> ContainerStack:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _jaeger_healthy(self) -> bool:
        return is_healthy(f"http://{self._started(self._jaeger).address(_JAEGER_PORTS['status'])}/status")

    @staticmethod
    def _started(container: Container | None) -> Container:
        if container is None:
            raise StackError("the containers have not been started")
        return container


class Container:
    """One container with ports published on loopback; `environment` and `mounts` are set before `start`.

    `mounts` are files and folders of this machine, by the path that each has in the container, read-only there.
    """

    def __init__(self, image: str, *, ports: list[int], command: str | None = None) -> None:
        self.image = image
        self.environment: dict[str, str] = {}
        self.mounts: dict[str, Path] = {}
        self._ports = ports
        self._command = command
        self._container: DockerContainer | None = None
        self._on_loopback = True

    def start(self) -> Container:
        """Create and start the container; raises `StackError` where Docker or the image is missing."""
        problem = docker_problem()
        if problem:
            raise StackError(problem)
        from docker.errors import APIError, DockerException
        from testcontainers.core.container import DockerContainer

        try:
            container = DockerContainer(self.image, command=self._command, env=dict(self.environment))
            self._container = container
            for inside, path in self.mounts.items():
                container.with_volume_mapping(str(path.absolute()), inside, "ro")
            self._on_loopback = publishes_on_loopback()
            for port in self._ports:
                # docker-py's "any free port of this address"; testcontainers itself publishes on all
                container.ports[f"{port}/tcp"] = ("127.0.0.1",) if self._on_loopback else None  # type: ignore[assignment]
            container.start()
        except APIError as error:
            reason = printable(" ".join(str(error.explanation or error).split()), 300)
            raise StackError(
                f"Docker could not pull or start {self.image}: {reason}; pull it, or name another image"
            ) from error
        except (DockerException, OSError) as error:
            raise StackError(f"Docker failed to start {self.image}: {type(error).__name__}") from error
        return self

    def stop(self) -> None:
        """Remove the container and its volumes, running or not; raises `StackError` when Docker does not."""
        container, self._container = self._container, None
        if container is None:
            return
        from docker.errors import DockerException, NotFound

        try:
            container.stop(force=True, delete_volume=True)
        except NotFound:
            pass  # somebody has removed it already
        except (DockerException, OSError) as error:
            raise StackError(
                f"Docker did not remove a container of {self.image} ({type(error).__name__}); look at docker ps -a"
            ) from error

    def kill(self) -> None:
        """SIGKILL the container's process, as the kernel's out-of-memory killer would; `stop` still removes it."""
        self._wrapped().kill()

    def address(self, port: int) -> str:
        """Return `host:port` under which the container's `port` is reached from here."""
        wrapped = self._wrapped()
        wrapped.reload()
        bindings: list[dict[str, str]] | None = wrapped.ports.get(f"{port}/tcp")
        if wrapped.status not in _ALIVE:
            raise self._died(wrapped)
        if not bindings:
            raise StackError(f"{self.image} does not publish port {port}; give it in ports=")
        host = "127.0.0.1" if self._on_loopback else self._running().get_container_host_ip()
        return f"{host}:{bindings[0]['HostPort']}"

    def wait_until(self, ready: Callable[[], bool], *, timeout: float) -> None:
        """Poll `ready` until it is true; raises `StackError` at once when the container has died."""
        deadline = time.monotonic() + timeout
        wrapped = self._wrapped()
        while True:
            wrapped.reload()
            if wrapped.status not in _ALIVE:
                raise self._died(wrapped)
            if wrapped.status == "running" and ready():
                return
            if time.monotonic() > deadline:
                raise StackError(f"{self.image} is not ready after {timeout:g} s. Its log:\n{self.log()}")
            time.sleep(0.05)

    def log(self) -> str:
        """Return the last lines that the container printed."""
        text: str = self._wrapped().logs(tail=_LOG_LINES).decode(errors="replace")
        return text.strip() or "(nothing printed)"

    def _died(self, wrapped: Any) -> StackError:
        status = wrapped.attrs["State"].get("ExitCode")
        return StackError(f"{self.image} ended with exit status {status}. Its last words:\n{self.log()}")

    def _running(self) -> DockerContainer:
        if self._container is None:
            raise StackError(f"{self.image} has not been started")
        return self._container

    def _wrapped(self) -> Any:
        return self._running().get_wrapped_container()


def container_environ(redis_url: str, otlp_endpoint: str) -> dict[str, str]:
    """Return the variables that point a process at a Redis and a Jaeger at these addresses."""
    variables = {
        URL_VARIABLE: redis_url,
        # Celery lets it go before the broker that an app names in its code.
        "CELERY_BROKER_URL": redis_url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        # A spool belongs to its destinations: one that the user has is not forwarded to this store.
        "HANDRAIL_SPOOL_DIR": "",
        # Jaeger keeps traces only; decisions reach it as span events.
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    return variables | without_proxy(os.environ)


def is_healthy(url: str) -> bool:
    """Return whether Jaeger's health check (`/status` on port 13133) answers 200 at `url`."""
    import httpx

    try:
        # Never through a proxy: the address is a container's.
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def publishes_on_loopback() -> bool:
    """Return whether ports that the daemon publishes are on this machine's loopback interface.

    They are not where the daemon is remote, or a neighbour of the container that this process runs in.
    """
    from testcontainers.core.config import ConnectionMode
    from testcontainers.core.docker_client import DockerClient

    client = DockerClient()
    try:
        return client.get_connection_mode() == ConnectionMode.docker_host and client.host() in (
            "localhost",
            "127.0.0.1",
        )
    finally:
        client.client.close()


def docker_problem() -> str | None:
    """Return why containers cannot be used here, in one line; `None` when a Docker daemon answers.

    The daemon is the one that testcontainers uses: DOCKER_HOST, else the one of Docker's current context.
    """
    try:
        import docker
        from docker.errors import DockerException
        from testcontainers.core.docker_client import get_docker_host
    except ModuleNotFoundError as error:
        return f"the Python package {error.name} is missing; install handrail[harness]"
    address = get_docker_host() or "unix:///var/run/docker.sock"
    advice = "start Docker, or set DOCKER_HOST"
    if address.startswith("unix://"):
        # Asked first by hand: docker-py leaves its socket open when nobody listens (a ResourceWarning).
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(address.removeprefix("unix://"))
            except OSError as error:
                reason = error.strerror or str(error) or type(error).__name__
                return f"no Docker daemon answers at {address} ({reason}); {advice}"
    try:
        client = docker.from_env(
            timeout=5,
            environment={**os.environ, "DOCKER_HOST": address},
            use_ssh_client=address.startswith("ssh://"),
        )
        try:
            client.ping()
        finally:
            client.close()
    except (DockerException, OSError, ValueError) as error:
        return f"no Docker daemon answers at {printable(address, 120)} ({type(error).__name__}); {advice}"
    return None
