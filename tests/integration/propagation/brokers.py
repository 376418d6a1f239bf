"""The brokers that the propagation suite runs over: where they are, and how to look into their queues."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import amqp
import redis
from kombu import Connection


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker; `backend` is the URL of the Redis that keeps results.

    `settings` are what Celery has to be told besides the URLs: JSON, since workers get them in their environment.
    """

    url: str
    backend: str
    settings: dict[str, Any] = field(default_factory=dict)
    system: ClassVar[str]
    """`messaging.system` of spans over it."""

    def destination(self, queue: str) -> str:
        """`messaging.destination.name` of a message that Celery sends straight to a queue."""
        return queue

    def waiting_headers(self, queue: str) -> dict[str, Any]:
        """Headers of the one message that waits in a queue; it stays there."""
        raise NotImplementedError

    def copy_waiting(self, queue: str) -> None:
        """Put a second copy of the one message that waits in a queue behind it."""
        raise NotImplementedError


class Redis(Broker):
    """Messages are JSON documents in lists."""

    system = "redis"

    def waiting_headers(self, queue: str) -> dict[str, Any]:
        with redis.Redis.from_url(self.url) as client:
            (message,) = client.lrange(queue, 0, -1)
        headers: dict[str, Any] = json.loads(message)["headers"]
        return headers

    def copy_waiting(self, queue: str) -> None:
        with redis.Redis.from_url(self.url) as client:
            (message,) = client.lrange(queue, 0, -1)
            client.rpush(queue, message)


class RabbitMQ(Broker):
    """Messages are taken out and put back: that is all that AMQP offers."""

    system = "rabbitmq"

    def waiting_headers(self, queue: str) -> dict[str, Any]:
        with self._waiting(queue) as (_, message):
            headers: dict[str, Any] = message.headers
            message.requeue()
        return headers

    def copy_waiting(self, queue: str) -> None:
        with self._waiting(queue) as (channel, message):
            copy = amqp.Message(message.body, **message.properties)
            for _ in range(2):  # the message that was taken out would come back as redelivered
                channel.basic_publish(copy, exchange="", routing_key=queue)
            message.ack()

    @contextmanager
    def _waiting(self, queue: str) -> Iterator[tuple[Any, Any]]:
        with Connection(self.url) as connection, connection.channel() as channel:
            message = channel.basic_get(queue, no_ack=False)
            assert message is not None, f"nothing waits in {queue}"
            yield channel, channel.message_to_python(message)
