"""An OpenTelemetry Collector in a container through testcontainers, with a configuration of the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from handrail_harness.stack.container import Container
from handrail_harness.stack.health import is_healthy

COLLECTOR_IMAGE = "otel/opentelemetry-collector-contrib:0.158.0"

_STATUS_PORT = 13133
_CONFIG = "/etc/otelcol-contrib/config.yaml"


class CollectorContainer(Container):
    """A Collector that runs `config`, which must have the extension health_check on 0.0.0.0:13133.

    `ports` are published beside that of the health check. `mounts` are files and folders by their path in the
    container, `environment` what the configuration refers to. When it ends, its last words name the line of the
    configuration that it does not take.
    """

    service = "Collector"
    image_variable = "HANDRAIL_COLLECTOR_IMAGE"
    default_image = COLLECTOR_IMAGE

    def __init__(
        self,
        config: Path,
        *,
        ports: tuple[int, ...] = (),
        mounts: Mapping[str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
        image: str | None = None,
    ) -> None:
        super().__init__(image, ports=[_STATUS_PORT, *ports])
        self.environment |= environment or {}
        self.mounts |= {_CONFIG: config, **(mounts or {})}

    def _answers(self) -> bool:
        return is_healthy(f"http://{self.address(_STATUS_PORT)}/")
