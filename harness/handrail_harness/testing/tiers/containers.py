"""Tier `containers`: worker processes on a Redis and a Jaeger in containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handrail_harness.stack.containers import ContainerStack, container_environ
from handrail_harness.stack.service import Broker
from handrail_harness.testing.shared import Shared
from handrail_harness.testing.tiers.base import TierName
from handrail_harness.testing.tiers.claimed import ClaimedTier

if TYPE_CHECKING:
    from handrail_harness.sources.base import Source


class ContainersTier(ClaimedTier):
    """Redis and Jaeger in containers; with xdist one of each for all workers, a Redis database for each."""

    name: TierName = "containers"
    takes_logs = False

    def __init__(self, session: str, shared: Shared | None) -> None:
        super().__init__(session, shared)
        self._stack: ContainerStack | None = None
        self._jaeger_url = ""

    @property
    def broker(self) -> Broker | None:
        """The Redis, where this process started it."""
        return self._stack.broker if self._stack is not None else None

    def start(self) -> None:
        """Start the containers, or join those that xdist workers share."""
        if self._shared is not None:
            state = self._shared.join("containers")
            self._claim(state["redis_url"])
            self._jaeger_url, self.otlp_endpoint = state["jaeger_url"], state["otlp_endpoint"]
        else:
            self._stack = ContainerStack().start()
            self._claim(self._stack.redis_url)
            self._jaeger_url, self.otlp_endpoint = self._stack.jaeger_url, self._stack.otlp_endpoint

    def stop(self) -> None:
        """Give the database back, remove the containers."""
        self._give_back()
        if self._stack is not None:
            self._stack.stop()
        if self._shared is not None:
            self._shared.leave()

    def environ(self) -> dict[str, str]:
        """Return the stack's variables, with this session's database."""
        return {**container_environ(self.redis_url, self.otlp_endpoint), "OTEL_TRACES_EXPORTER": "otlp"}

    def source(self) -> Source | None:
        """Return a new source on Jaeger."""
        from handrail_harness.sources.jaeger import JaegerSource

        return JaegerSource(self._jaeger_url)
