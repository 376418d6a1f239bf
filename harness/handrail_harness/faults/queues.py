"""Real messages in a broker's queue: taken out, looked at, put back. What happens to them in between is `held`."""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import dataclass, field
from typing import Any, Protocol

from handrail_harness.errors import StackError

_PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
"""kombu's Redis transport keeps one list for each step of priority, named with this suffix."""


@dataclass(slots=True)
class Message:
    """A Celery message as it lies in the broker. `headers` may be changed in place; so may `body`.

    `headers` has Celery's own (`task`, `id`, `root_id`, `parent_id`, `retries`, ...) and W3C's; `body` is what the
    producer serialised, in bytes. `rest` is what else the broker needs to have, and is not for tests.
    """

    headers: dict[str, Any]
    body: bytes
    rest: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Celery's task id, or `""`."""
        return str(self.headers.get("id") or "")

    @property
    def task(self) -> str:
        """Name of the task, or `""`."""
        return str(self.headers.get("task") or "")

    def copy(self) -> Message:
        """Return a message that shares nothing with this one."""
        return copy.deepcopy(self)


class Queues(Protocol):
    """What a broker's queues must be able to do. Oldest first, always."""

    def take(self, queue: str) -> list[Message]:
        """Take every message that waits in a queue; none is left there."""
        ...

    def put(self, queue: str, messages: list[Message]) -> None:
        """Put messages into a queue, behind those that are there, to be delivered in this order."""
        ...

    def wake(self) -> None:
        """Let consumers that have been told to stop, or to go on, act on it before the next message."""
        ...

    def close(self) -> None:
        """Let go of the broker."""
        ...


class RedisQueues:
    """Queues of kombu's Redis transport: lists of JSON, new messages on the left, taken from the right."""

    def __init__(self, url: str) -> None:
        import redis

        self._client: Any = redis.Redis.from_url(url)

    def take(self, queue: str) -> list[Message]:
        """Take every message that waits in a queue, of every priority, the most urgent first."""
        found: list[Message] = []
        for suffix in _PRIORITIES:
            name = queue + suffix
            with self._client.pipeline(transaction=True) as pipe:
                pipe.lrange(name, 0, -1)
                pipe.delete(name)
                taken, _ = pipe.execute()
            found += [_from_json(text, name) for text in reversed(taken)]
        return found

    def put(self, queue: str, messages: list[Message]) -> None:
        """Put messages back into the list that each came from."""
        with self._client.pipeline(transaction=True) as pipe:
            for message in messages:
                pipe.lpush(message.rest["list"], _to_json(message))
            pipe.execute()

    def wake(self) -> None:
        """End every BRPOP that waits: it knows the queues of a worker as they were when it was sent."""
        for client in self._client.client_list():
            if client["cmd"] == "brpop" and "b" in client["flags"]:
                self._client.client_unblock(client["id"])

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class RabbitMQQueues:
    """Queues of RabbitMQ: messages are taken for good, and published again with the properties that they had."""

    def __init__(self, url: str) -> None:
        from kombu import Connection

        self._connection: Any = Connection(url)
        self._channel: Any = self._connection.channel()

    def take(self, queue: str) -> list[Message]:
        """Take every message that is ready in a queue, at most one poll long; none where there is no such queue."""
        from amqp.exceptions import NotFound

        found: list[Message] = []
        try:
            while (message := self._channel.basic_get(queue, no_ack=True)) is not None:
                found.append(_from_amqp(message))
        except NotFound:  # the broker has closed the channel
            self._channel = self._connection.channel()
        return found

    def put(self, queue: str, messages: list[Message]) -> None:
        """Publish messages straight into the queue, in one transaction."""
        import amqp

        channel = self._connection.channel()
        channel.tx_select()
        for message in messages:
            properties = {**message.rest["properties"], "application_headers": message.headers}
            channel.basic_publish(amqp.Message(message.body, **properties), exchange="", routing_key=queue)
        channel.tx_commit()
        channel.close()

    def wake(self) -> None:
        """Nothing to do: RabbitMQ itself knows at once who consumes what."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.release()


def open_queues(broker_url: str) -> Queues:
    """Return the queues of a broker by its URL; raises `StackError` for a broker that is not supported."""
    scheme = broker_url.split(":", 1)[0]
    if scheme in ("redis", "rediss"):
        return RedisQueues(broker_url)
    if scheme in ("amqp", "amqps", "pyamqp"):
        return RabbitMQQueues(broker_url)
    raise StackError(f"messages cannot be held in a broker of kind {scheme!r}, only in redis:// and amqp://")


def _from_amqp(message: Any) -> Message:
    properties = dict(message.properties)
    body = message.body
    headers = dict(properties.pop("application_headers", None) or {})
    return Message(
        headers, body if isinstance(body, bytes) else str(body).encode(), {"properties": properties}
    )


def _from_json(text: bytes, name: str) -> Message:
    document = json.loads(text)
    body = document.pop("body")
    encoding = document["properties"].get("body_encoding")
    content = base64.b64decode(body) if encoding == "base64" else str(body).encode()
    return Message(document.pop("headers"), content, {"list": name, "document": document})


def _to_json(message: Message) -> str:
    document = message.rest["document"]
    encoded = document["properties"].get("body_encoding") == "base64"
    body = base64.b64encode(message.body).decode() if encoded else message.body.decode()
    return json.dumps({"body": body, "headers": message.headers, **document})
