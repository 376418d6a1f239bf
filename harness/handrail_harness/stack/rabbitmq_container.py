"""RabbitMQ in a container through testcontainers, where no `rabbitmq-server` is installed."""

from __future__ import annotations

import os
import secrets
from types import TracebackType
from urllib.parse import quote

from handrail_harness.errors import StackError
from handrail_harness.stack.containers import Container
from handrail_harness.stack.rabbitmq import answers

RABBITMQ_IMAGE = "rabbitmq:3.13"
RABBITMQ_IMAGE_VARIABLE = "HANDRAIL_RABBITMQ_IMAGE"

_PORT = 5672
_USER = "handrail"


class RabbitMQContainer:
    """A RabbitMQ in a container on a free loopback port, with a password; a context manager.

    The image is the argument, else HANDRAIL_RABBITMQ_IMAGE, else the official one that this release was
    tested with. Raises `StackError` when no Docker daemon answers, the image cannot be had, or it dies.
    """

    def __init__(self, image: str | None = None) -> None:
        self.image = image or os.environ.get(RABBITMQ_IMAGE_VARIABLE) or RABBITMQ_IMAGE
        self._password = secrets.token_urlsafe(18)
        self._container: Container | None = None

    @property
    def url(self) -> str:
        """AMQP URL of the default virtual host, password included: for environments, never for logs."""
        if self._container is None:
            raise StackError("the RabbitMQ container has not been started")
        return f"amqp://{_USER}:{quote(self._password, safe='')}@{self._container.address(_PORT)}//"

    def start(self, *, timeout: float = 90.0) -> RabbitMQContainer:
        """Start the container and wait until it takes connections; a failure leaves nothing."""
        container = self._container = Container(self.image, ports=[_PORT])
        container.environment |= {"RABBITMQ_DEFAULT_USER": _USER, "RABBITMQ_DEFAULT_PASS": self._password}
        try:
            container.start()
            container.wait_until(lambda: answers(self.url), timeout=timeout)
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

    def __enter__(self) -> RabbitMQContainer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
