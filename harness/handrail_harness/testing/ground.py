"""What a session stands on: its tier's stack, the spans of all processes on it, and its entry in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handrail_harness.errors import StackError
from handrail_harness.testing.collector import Collector
from handrail_harness.testing.flushing import FlushingSource
from handrail_harness.testing.leftovers import SESSION_VARIABLE, Ledger, containers_of, leftovers
from handrail_harness.testing.sweeping import sweep_sessions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from handrail_harness.sources.base import Source
    from handrail_harness.testing.tiers import Tier

_QUIET_IN_MEMORY, _QUIET_EXPORTED = 0.05, 0.3  # seconds without a new span; exporters send every 0.1 s


class Ground:
    """The stack of one session, between `start` and `stop`."""

    def __init__(self, tier: Tier, session: str) -> None:
        self.tier = tier
        self._session = session
        self._ledger = Ledger(session)
        self.swept: list[str] = []
        """What killed sessions had left, a line for each thing removed or not removable."""
        self._label = ""
        """Of the containers of this session, where it starts some."""
        self._collector: Collector | None = None
        self._source: Source | None = None

    @property
    def source(self) -> Source:
        """The spans of all processes; raises `StackError` before the start."""
        if self._source is None:
            raise StackError("the session has not been started")
        return self._source

    @property
    def collector(self) -> Collector:
        """What takes this process's spans; raises `StackError` before the start."""
        if self._collector is None:
            raise StackError("the session has not been started")
        return self._collector

    @property
    def quiet(self) -> float:
        """Seconds without a new span after which a run counts as at rest."""
        return _QUIET_EXPORTED if self.tier.worker_processes else _QUIET_IN_MEMORY

    @property
    def watches_application(self) -> bool:
        """Whether an SDK provider of the application is seen in this process."""
        return self._collector is not None and self._collector.watches_application

    def environ(self) -> dict[str, str]:
        """Return the variables that point a process at the stack."""
        return {**self.tier.environ(), SESSION_VARIABLE: self._session}

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue of this session's database; 0 where that cannot be told."""
        database = getattr(self.tier, "database", None)
        return database.length(queue) if database is not None and queue else 0

    def drop_messages(self) -> None:
        """Drop what waits in the queues of this session's own database."""
        database = getattr(self.tier, "database", None)
        if self.tier.owned and database is not None and database.left():
            database.purge()

    def start(self) -> None:
        """Remove what killed sessions left, then start the tier's stack, writing down first what would stay of it."""
        self.swept = sweep_sessions()
        self._ledger.open()
        if self.tier.name == "containers":
            self._expect_containers()
        self.tier.start()
        if (url := self.tier.redis_url) and self.tier.owned:
            self._ledger.note_database(url)
        self._collector = Collector(self.tier.otlp_endpoint, takes_logs=self.tier.takes_logs)
        if self.tier.name == "external":
            self._collector.watch_nothing()  # the application exports its own spans
        else:
            self._collector.lend()
        stored = self.tier.source()
        self._source = self._collector.memory if stored is None else FlushingSource(stored, self._collector)

    def stop(self, workers: Iterable[int]) -> list[str]:
        """Stop the stack; return what is left behind, of these processes or of its own. May be called twice."""
        expected_gone = [*self.tier.pids(), *workers]
        if self._source is not None:
            self._source.close()
        if self._collector is not None:
            self._collector.close()
        self.tier.stop()
        left = leftovers(self._session, expected_gone)
        if self._label:
            try:
                left += [f"container {name}" for name in containers_of(self._label)]
            except StackError as error:  # its entry stays in the ledger
                return [*left, f"perhaps containers: {error}"]
        self._ledger.close()
        return left

    def _expect_containers(self) -> None:
        """Write down how this session's containers are labelled; raises `StackError` where none can be started."""
        from testcontainers.core.labels import SESSION_ID

        from handrail_harness.stack.daemon import require_docker

        require_docker()
        self._label = SESSION_ID
        self._ledger.note_containers(SESSION_ID)
