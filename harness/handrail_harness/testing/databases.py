"""One Redis database for one pytest process: claimed empty, emptied again, so that nobody takes another's messages.

A whole database and not a prefix: queue names stay those of the application, in its traces and in its workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from handrail_agents.redis_client import without_password
from handrail_harness.errors import StackError

if TYPE_CHECKING:
    import redis

CLAIM = "handrail:claimed"
"""Key that holds the id of the session which has a database."""
_SECONDS = 24 * 3600
_PRIORITY = "\x06\x16"
"""Stands between a queue's name and the priority that kombu keeps in a list of its own."""


class Database:
    """A claimed database; `url` is its address. `close()` empties it and gives it back."""

    def __init__(self, url: str, session: str) -> None:
        self.url = url
        self.session = session

    def left(self) -> list[str]:
        """Return what is in its queues: `scout (2)`, `scout priority 6 (1)`, sorted."""
        with _client(self.url) as client:
            return sorted(
                f"{_told(name)} ({number})" for name in _lists(client) if (number := client.llen(name))
            )

    def length(self, queue: str) -> int:
        """Return how many messages wait in a queue, of whatever priority."""
        with _client(self.url) as client:
            every = [name for name in _lists(client) if name.partition(_PRIORITY)[0] == queue]
            lengths: list[Any] = [client.llen(name) for name in every]
            return sum(lengths)

    def purge(self) -> None:
        """Drop every message that waits in a queue."""
        with _client(self.url) as client:
            for name in _lists(client):
                client.delete(name)

    def close(self) -> None:
        """Empty the database, if the claim is still this session's."""
        empty(self.url, self.session)


def claim(url: str, session: str) -> Database:
    """Claim an empty database of the Redis at `url`, that of the URL itself last.

    Raises `StackError` when every database has something in it.
    """
    own = int(urlsplit(url).path.strip("/") or 0)
    with _client(url) as client:
        answer: Any = client.config_get("databases")
        number = int(answer.get("databases", 1))
    for database in [*(at for at in range(1, number) if at != own), own]:
        there = urlsplit(url)._replace(path=f"/{database}").geturl()
        with _client(there) as client:
            # Set first, then looked at: of two sessions that ask at once only one gets it.
            if not client.set(CLAIM, session, nx=True, ex=_SECONDS):
                continue
            if client.dbsize() == 1:
                return Database(there, session)
            client.delete(CLAIM)
    raise StackError(
        f"no database of {without_password(url)} is empty, so tests would meet messages of others; give another "
        "Redis, or none (one is started then)"
    )


def empty(url: str, session: str) -> bool:
    """Empty a database if `session` has claimed it; return whether it had."""
    with _client(url) as client:
        if client.get(CLAIM) != session:
            return False
        client.flushdb()
        return True


def _lists(client: redis.Redis) -> list[str]:
    return [str(name) for name in client.scan_iter(count=1000, _type="list")]


def _told(name: str) -> str:
    queue, _, priority = name.partition(_PRIORITY)
    return f"{queue} priority {priority}" if priority else queue


@contextmanager
def _client(url: str) -> Iterator[redis.Redis]:
    import redis

    client = redis.Redis.from_url(url, decode_responses=True, socket_connect_timeout=3, socket_timeout=5)
    try:
        yield client
    except redis.RedisError as error:
        raise StackError(
            f"the Redis at {without_password(url)} does not answer ({type(error).__name__}); start it again"
        ) from error
    finally:
        client.close()
