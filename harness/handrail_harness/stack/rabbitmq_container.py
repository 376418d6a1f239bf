"""RabbitMQ in a container through testcontainers, where no `rabbitmq-server` is installed."""

from __future__ import annotations

import secrets
from urllib.parse import quote

from handrail_harness.stack.container import Container
from handrail_harness.stack.rabbitmq import answers

RABBITMQ_IMAGE = "rabbitmq:3.13"

_PORT = 5672
_USER = "handrail"


class RabbitMQContainer(Container):
    """A RabbitMQ in a container on a free loopback port, with a password."""

    service = "RabbitMQ"
    patience = 120.0  # Erlang is slow to start where it has to share the processors
    image_variable = "HANDRAIL_RABBITMQ_IMAGE"
    default_image = RABBITMQ_IMAGE

    def __init__(self, image: str | None = None) -> None:
        super().__init__(image, ports=[_PORT])
        self._password = secrets.token_urlsafe(18)
        self.environment |= {"RABBITMQ_DEFAULT_USER": _USER, "RABBITMQ_DEFAULT_PASS": self._password}

    @property
    def url(self) -> str:
        """AMQP URL of the default virtual host, password included: for environments, never for logs."""
        return f"amqp://{_USER}:{quote(self._password, safe='')}@{self.address(_PORT)}//"

    def _answers(self) -> bool:
        return answers(self.url)
