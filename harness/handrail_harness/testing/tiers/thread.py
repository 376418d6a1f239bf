"""Tier `thread`: workers in threads of this process on a real queue; spans never leave the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handrail_harness.errors import StackError
from handrail_harness.stack.redis import RedisServer, configured_url, redis_here
from handrail_harness.stack.service import Broker
from handrail_harness.testing.shared import Shared
from handrail_harness.testing.tiers.base import TierName
from handrail_harness.testing.tiers.claimed import ClaimedTier

if TYPE_CHECKING:
    from handrail_harness.sources.base import Source

MEMORY = "memory://"


class ThreadTier(ClaimedTier):
    """A Redis (HANDRAIL_REDIS_URL, else one that is started), or Celery's `memory://` where there is none to start."""

    name: TierName = "thread"
    worker_processes = False

    def __init__(self, session: str, shared: Shared | None) -> None:
        super().__init__(session, shared)
        self._redis: RedisServer | None = None

    @property
    def broker(self) -> Broker | None:
        """The Redis, where this process started it."""
        return self._redis

    def start(self) -> None:
        """Find or start a Redis, and claim a database of it."""
        url = configured_url()
        if url is None and not redis_here():
            self.broker_url = MEMORY
            return
        if url is None and self._shared is not None:
            url = self._shared.join("redis")["redis_url"]
        elif url is None:
            self._redis = RedisServer().start()
            url = self._redis.url
        self._claim(url)

    def stop(self) -> None:
        """Give the database back, stop the Redis."""
        self._give_back()
        if self._redis is not None:
            self._redis.stop()
        if self._shared is not None:
            self._shared.leave()

    def source(self) -> Source | None:
        """Return nothing: spans stay in memory."""
        return None

    def pids(self) -> list[int]:
        """Return the Redis, where it was started here."""
        return [self._redis.pid] if self._redis is not None and self._redis.pid else []

    def check(self) -> None:
        """Raise `StackError` when the Redis has died."""
        if self._redis is not None and not self._redis.pid:
            raise StackError("redis-server has ended; run the session again")
