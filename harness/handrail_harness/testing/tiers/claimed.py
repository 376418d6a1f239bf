"""What tiers with a Redis have in common: a database of it that is this session's alone."""

from __future__ import annotations

from handrail_harness.stack.redis import URL_VARIABLE
from handrail_harness.stack.service import Broker
from handrail_harness.testing.databases import Database, claim
from handrail_harness.testing.shared import Shared


class ClaimedTier:
    """Claims a database in `start`, and gives it back, emptied, in `stop`; `shared` is the stack of xdist workers."""

    otlp_endpoint = ""
    takes_logs = True
    worker_processes = True
    owned = True

    def __init__(self, session: str, shared: Shared | None) -> None:
        self.broker_url = self.redis_url = ""
        self.database: Database | None = None
        self._session = session
        self._shared = shared

    @property
    def broker(self) -> Broker | None:
        """The broker, where this process started it."""
        return None

    def environ(self) -> dict[str, str]:
        """Return the variables that every process on the stack needs."""
        # Celery lets the second go before the broker that an app names in its code.
        return {URL_VARIABLE: self.redis_url, "CELERY_BROKER_URL": self.broker_url}

    def check(self) -> None:
        """Raise `StackError` when a part has died."""

    def pids(self) -> list[int]:
        """Return the processes that were started here."""
        return []

    def _claim(self, url: str) -> None:
        self.database = claim(url, self._session)
        self.broker_url = self.redis_url = self.database.url

    def _give_back(self) -> None:
        """Empty and give back the database, unless its server goes with this session anyway."""
        if self.database is not None and self.broker is None:
            self.database.close()
        self.database = None
