"""Tier `process`: real worker processes on the embedded stack (Redis, receiver, store), without Docker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.service import Broker
from handrail_harness.testing.shared import Shared
from handrail_harness.testing.tiers.base import TierName
from handrail_harness.testing.tiers.claimed import ClaimedTier

if TYPE_CHECKING:
    from handrail_harness.sources.base import Source


class ProcessTier(ClaimedTier):
    """The embedded stack; with xdist one for all workers, a Redis database for each."""

    name: TierName = "process"

    def __init__(self, session: str, shared: Shared | None) -> None:
        super().__init__(session, shared)
        self.stack = EmbeddedStack()

    @property
    def broker(self) -> Broker | None:
        """The Redis, where this process started it."""
        return self.stack.broker

    def start(self) -> None:
        """Start the embedded stack, or join the one that xdist workers share."""
        if self._shared is not None:
            self.stack = EmbeddedStack.find(Path(self._shared.join("embedded")["data_dir"]))
        else:
            self.stack.start()
        self._claim(self.stack.redis_url)
        self.otlp_endpoint = self.stack.otlp_endpoint

    def stop(self) -> None:
        """Give the database back, stop what was started."""
        self._give_back()
        self.stack.stop()
        if self._shared is not None:
            self._shared.leave()

    def environ(self) -> dict[str, str]:
        """Return the stack's variables, with this session's database."""
        exporters = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp"}
        return {**self.stack.environ(), **super().environ(), **exporters}

    def source(self) -> Source | None:
        """Return a new source on the store."""
        return self.stack.source()

    def check(self) -> None:
        """Raise `StackError` when a part has died."""
        self.stack.check()

    def pids(self) -> list[int]:
        """Return Redis and receiver, where they were started here."""
        return self.stack.pids()
