"""One service in one container, through testcontainers.

Waiting is our own: a container that died is noticed at once and reported with its last log lines, where
testcontainers would go on polling it.
"""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from handrail_harness.errors import StackError
from handrail_harness.printable import printable
from handrail_harness.stack.daemon import publishes_on_loopback, require_docker
from handrail_harness.stack.server import HOST, free_port
from handrail_harness.stack.service import Service

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

_LOG_LINES = 12
_ALIVE = ("created", "running", "paused")
_ATTEMPTS = 3
_ORDERLY = 30  # seconds that a service may take to write everything down
_PORT_TAKEN = ("address already in use", "port is already allocated")


class Container(Service):
    """A container with ports published on loopback; a context manager.

    `environment` and `mounts` are set before `start`; the latter are files and folders of this machine, by the path
    that each has in the container, read-only there. A subclass says by `_answers` when its service is ready, and
    its image is the argument, else its variable, else the official one that this release was tested with. Raises
    `StackError`, in one line, when no Docker daemon answers, the image cannot be had, or the container dies.
    """

    service: ClassVar[str]
    """What runs in it, for messages."""
    image_variable: ClassVar[str]
    default_image: ClassVar[str]

    def __init__(self, image: str | None = None, *, ports: list[int], command: str | None = None) -> None:
        self.image = image or os.environ.get(self.image_variable) or self.default_image
        self.environment: dict[str, str] = {}
        self.mounts: dict[str, Path] = {}
        self._published: dict[int, int] = dict.fromkeys(ports, 0)
        self._command = command
        self._container: DockerContainer | None = None
        self._on_loopback = True

    def launch(self) -> Self:
        """Create and start the container; `wait_ready` follows, and `stop` whatever happens."""
        require_docker()
        self._on_loopback = publishes_on_loopback()
        for attempt in range(1, _ATTEMPTS + 1):
            if self._on_loopback:
                # Chosen here and not by Docker, which takes another one with every start.
                self._published = {port: free_port() for port in self._published}
            try:
                self._create()
            except _PortTaken:
                self.stop()
                if attempt == _ATTEMPTS:
                    raise
            else:
                break
        return self

    def wait_ready(self, timeout: float) -> Self:
        """Wait until the service answers; raises `StackError` at once when the container has died."""
        self.wait_until(self._answers, timeout=timeout)
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

    def restart(self, *, keep: bool = True) -> None:
        """Stop the service and start it again on the same port; with `keep` it has the same data, else none.

        Raises `StackError` when it does not come back, or the daemon is on another machine: which ports are free
        there is not known here, and Docker itself takes another one with every start.
        """
        if not self._on_loopback:
            raise StackError(
                f"the {self.service} container is not on this machine, so that it would come back on another port; "
                "use a Docker daemon here"
            )
        self.resume()
        if keep:
            self._save()
            self._ask(lambda wrapped: wrapped.restart(timeout=_ORDERLY), "restart")
        else:
            self.stop()
            self._create()
        self.wait_ready(self.patience)

    def pause(self) -> None:
        """Let the service hang with its connections open: its processes are frozen."""
        self._ask(lambda wrapped: wrapped.pause(), "pause")

    def resume(self) -> None:
        """Let a paused service go on; nothing happens when it is not paused."""
        wrapped = self._wrapped()
        wrapped.reload()
        if wrapped.status == "paused":
            self._ask(lambda paused: paused.unpause(), "resume")

    def address(self, port: int) -> str:
        """Return `host:port` under which the container's `port` is reached from here."""
        wrapped = self._wrapped()
        wrapped.reload()
        if wrapped.status not in _ALIVE:
            raise self._died(wrapped)
        if port not in self._published:
            raise StackError(f"{self.image} does not publish port {port}; give it in ports=")
        if self._on_loopback:
            return f"{HOST}:{self._published[port]}"
        return f"{self._running().get_container_host_ip()}:{wrapped.ports[f'{port}/tcp'][0]['HostPort']}"

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

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether the service is ready for use."""

    def _save(self) -> None:
        """Make the service write what it only does when asked, before an orderly end."""

    def _begin(self, timeout: float) -> None:
        self.launch().wait_ready(timeout)

    def _create(self) -> None:
        from docker.errors import APIError, DockerException
        from testcontainers.core.container import DockerContainer

        try:
            container = DockerContainer(self.image, command=self._command, env=dict(self.environment))
            self._container = container
            for inside, path in self.mounts.items():
                container.with_volume_mapping(str(path.absolute()), inside, "ro")
            for port, published in self._published.items():
                container.ports[f"{port}/tcp"] = (HOST, published) if self._on_loopback else None  # type: ignore[assignment]
            container.start()
        except APIError as error:
            reason = printable(" ".join(str(error.explanation or error).split()), 300)
            kind = _PortTaken if any(words in reason for words in _PORT_TAKEN) else StackError
            raise kind(
                f"Docker could not pull or start {self.image}: {reason}; pull it, or name another image"
            ) from error
        except (DockerException, OSError) as error:
            raise StackError(f"Docker failed to start {self.image}: {type(error).__name__}") from error

    def _ask(self, action: Callable[[Any], object], what: str) -> None:
        from docker.errors import DockerException

        try:
            action(self._wrapped())
        except (DockerException, OSError) as error:
            reason = printable(" ".join(str(error).split()), 300)
            raise StackError(f"Docker did not {what} the {self.service} container: {reason}") from error

    def _died(self, wrapped: Any) -> StackError:
        status = wrapped.attrs["State"].get("ExitCode")
        return StackError(f"{self.image} ended with exit status {status}. Its last words:\n{self.log()}")

    def _running(self) -> DockerContainer:
        if self._container is None:
            raise StackError(f"the {self.service} container has not been started")
        return self._container

    def _wrapped(self) -> Any:
        return self._running().get_wrapped_container()


class _PortTaken(StackError):
    """Between finding a free port and Docker's binding it, somebody else has taken it."""
