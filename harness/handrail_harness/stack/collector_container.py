"""An OpenTelemetry Collector in a container through testcontainers, with a configuration of the caller's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from handrail_harness.errors import StackError
from handrail_harness.stack.containers import Container, is_healthy

COLLECTOR_IMAGE = "otel/opentelemetry-collector-contrib:0.158.0"
COLLECTOR_IMAGE_VARIABLE = "HANDRAIL_COLLECTOR_IMAGE"

_STATUS_PORT = 13133
_CONFIG = "/etc/otelcol-contrib/config.yaml"


class CollectorContainer:
    """A Collector that runs `config`, which must have the extension health_check on 0.0.0.0:13133; a context manager.

    `ports` are published beside that of the health check. `mounts` are files and folders by their path in the
    container, `environment` what the configuration refers to. The image is the argument, else
    HANDRAIL_COLLECTOR_IMAGE, else the official one that this release was tested with. Raises `StackError` when no
    Docker daemon answers, the image cannot be had, or the Collector ends, with its last words: they name the line of
    the configuration that it does not take.
    """

    def __init__(
        self,
        config: Path,
        *,
        ports: tuple[int, ...] = (),
        mounts: Mapping[str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
        image: str | None = None,
    ) -> None:
        self.image = image or os.environ.get(COLLECTOR_IMAGE_VARIABLE) or COLLECTOR_IMAGE
        self._ports = [_STATUS_PORT, *ports]
        self._mounts = {_CONFIG: config, **(mounts or {})}
        self._environment = dict(environment or {})
        self._container: Container | None = None

    def address(self, port: int) -> str:
        """Return `host:port` under which one of `ports` is reached from here."""
        if self._container is None:
            raise StackError("the Collector container has not been started")
        return self._container.address(port)

    def start(self, *, timeout: float = 60.0) -> CollectorContainer:
        """Start the container and wait until its health check answers; a failure leaves nothing."""
        container = self._container = Container(self.image, ports=self._ports)
        container.environment |= self._environment
        container.mounts |= self._mounts
        try:
            container.start()
            status = f"http://{container.address(_STATUS_PORT)}/"
            container.wait_until(lambda: is_healthy(status), timeout=timeout)
        except BaseException as error:
            try:
                self.stop()
            except StackError as left:
                error.add_note(str(left))
            raise
        return self

    def stop(self) -> None:
        """Stop and remove the container with its volumes. May be called twice."""
        container, self._container = self._container, None
        if container is not None:
            container.stop()

    def __enter__(self) -> CollectorContainer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
