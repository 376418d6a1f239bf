"""Redis in a container through testcontainers."""

from __future__ import annotations

from handrail_harness.stack.container import Container
from handrail_harness.stack.redis import answers, save

REDIS_IMAGE = "redis:7.4"
_PORT = 6379


class RedisContainer(Container):
    """A Redis in a container on a free loopback port, without a password."""

    service = "Redis"
    image_variable = "HANDRAIL_REDIS_IMAGE"
    default_image = REDIS_IMAGE

    def __init__(self, image: str | None = None, *, command: str | None = None) -> None:
        super().__init__(image, ports=[_PORT], command=command)

    @property
    def url(self) -> str:
        """URL of the Redis, database 0."""
        return f"redis://{self.address(_PORT)}/0"

    def _answers(self) -> bool:
        return answers(self.url)

    def _save(self) -> None:
        save(self.url)
