"""The stack in containers: Redis and Jaeger through testcontainers, from the official images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from handrail_harness.errors import StackError
from handrail_harness.stack.embedded import without_proxy
from handrail_harness.stack.jaeger_container import JaegerContainer
from handrail_harness.stack.redis import URL_VARIABLE
from handrail_harness.stack.redis_container import RedisContainer
from handrail_harness.stack.service import Broker, Service

if TYPE_CHECKING:
    from handrail_harness.sources.jaeger import JaegerSource


class ContainerStack(Service):
    """Redis and Jaeger in containers of their own, on free loopback ports; a context manager.

    Images are the arguments, else HANDRAIL_REDIS_IMAGE and HANDRAIL_JAEGER_IMAGE, else the official ones that
    this release was tested with. Raises `StackError` in one line when no Docker daemon answers, an image
    cannot be had, or a container dies. `patience` and `timeout` are for each of the two.
    """

    def __init__(self, *, redis_image: str | None = None, jaeger_image: str | None = None) -> None:
        self.redis = RedisContainer(redis_image)
        self.jaeger = JaegerContainer(jaeger_image)

    def stop(self) -> None:
        """Stop and remove both containers with their volumes. May be called twice.

        Raises `StackError` when Docker does not remove one, after it has tried the other.
        """
        problems = []
        for container in (self.redis, self.jaeger):
            try:
                container.stop()
            except StackError as error:
                problems.append(str(error))
        if problems:
            raise StackError("; ".join(problems))

    @property
    def redis_url(self) -> str:
        """URL of the Redis, database 0."""
        return self.redis.url

    @property
    def broker(self) -> Broker:
        """The Redis; faults restart and pause it."""
        return self.redis

    @property
    def jaeger_url(self) -> str:
        """Address of Jaeger's user interface and query API."""
        return self.jaeger.url

    @property
    def otlp_endpoint(self) -> str:
        """Base URL for OTLP over HTTP, as OTEL_EXPORTER_OTLP_ENDPOINT takes it."""
        return self.jaeger.otlp_endpoint

    def source(self) -> JaegerSource:
        """Return a new `Source` on this stack's Jaeger; the caller closes it."""
        from handrail_harness.sources.jaeger import JaegerSource

        return JaegerSource(self.jaeger_url)

    def environ(self) -> dict[str, str]:
        """Return the variables that make a producer or worker use this stack; add them to its environment."""
        return container_environ(self.redis_url, self.otlp_endpoint)

    def _begin(self, timeout: float) -> None:
        self.jaeger.launch()  # both start at the same time
        self.redis.launch().wait_ready(timeout)
        self.jaeger.wait_ready(timeout)


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
