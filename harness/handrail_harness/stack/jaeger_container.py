"""Jaeger (version 2) in a container through testcontainers."""

from __future__ import annotations

from handrail_harness.stack.container import Container
from handrail_harness.stack.health import is_healthy

JAEGER_IMAGE = "jaegertracing/jaeger:2.20.0"
_UI, _OTLP_GRPC, _OTLP_HTTP, _STATUS = 16686, 4317, 4318, 13133


class JaegerContainer(Container):
    """A Jaeger that keeps traces in memory, in a container on free loopback ports."""

    service = "Jaeger"
    image_variable = "HANDRAIL_JAEGER_IMAGE"
    default_image = JAEGER_IMAGE

    def __init__(self, image: str | None = None) -> None:
        super().__init__(image, ports=[_UI, _OTLP_GRPC, _OTLP_HTTP, _STATUS])
        self.environment["JAEGER_LISTEN_HOST"] = "0.0.0.0"  # noqa: S104 - inside the container

    @property
    def url(self) -> str:
        """Address of Jaeger's user interface and query API."""
        return f"http://{self.address(_UI)}"

    @property
    def otlp_endpoint(self) -> str:
        """Base URL for OTLP over HTTP, as OTEL_EXPORTER_OTLP_ENDPOINT takes it."""
        return f"http://{self.address(_OTLP_HTTP)}"

    def _answers(self) -> bool:
        return is_healthy(f"http://{self.address(_STATUS)}/status")
