"""Tier `external`: a Redis, workers and a trace store that are up already; nothing is started or emptied."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from handrail_harness.errors import StackError
from handrail_harness.sources import open_source
from handrail_harness.stack.redis import URL_VARIABLE, configured_url
from handrail_harness.stack.service import Broker
from handrail_harness.testing.tiers.base import TierName

if TYPE_CHECKING:
    from handrail_harness.sources.base import Source

SOURCE_OPTION = "--handrail-source"


class ExternalTier:
    """HANDRAIL_REDIS_URL and a source; producers and workers export where their own `OTEL_*` variables say."""

    name: TierName = "external"
    takes_logs = True
    worker_processes = True
    owned = False

    def __init__(self, source: str) -> None:
        self.broker_url = self.redis_url = ""
        self._source = source
        self.otlp_endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")

    @property
    def broker(self) -> Broker | None:
        return None

    def start(self) -> None:
        url = configured_url()
        if url is None:
            raise StackError(
                f"tier external needs {URL_VARIABLE}: the Redis that the application's workers use"
            )
        if not self._source:
            raise StackError(
                f"tier external needs {SOURCE_OPTION}=jaeger:URL, store or file:PATH to read spans from"
            )
        if not self.otlp_endpoint:
            raise StackError("tier external needs OTEL_EXPORTER_OTLP_ENDPOINT: where the spans of tests go")
        self.broker_url = self.redis_url = url

    def stop(self) -> None:
        return None

    def environ(self) -> dict[str, str]:
        return {URL_VARIABLE: self.redis_url, "CELERY_BROKER_URL": self.broker_url}

    def source(self) -> Source | None:
        return open_source(self._source)

    def check(self) -> None:
        return None

    def pids(self) -> list[int]:
        return []
