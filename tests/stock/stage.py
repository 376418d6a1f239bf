"""Stock producers and workers on a real Redis: a traced producer in this process, workers of each pool as children."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace

from handrail_harness.forest import Forest, build
from handrail_harness.spans import Span
from handrail_harness.stack.redis import RedisServer
from handrail_harness.stack.sink import SpanSink
from handrail_harness.stack.workers import Worker

APPS: Final = Path(__file__).resolve().parents[1] / "integration" / "propagation" / "apps"
PATIENCE: Final = 60.0


class Stage:
    """One Redis, one sink, one producer in this process; what it sends is told apart by trace."""

    def __init__(self, redis_url: str, sink: SpanSink, stack: ExitStack) -> None:
        self.redis_url = redis_url
        self.sink = sink
        self._stack = stack
        self.queue = f"stock-{secrets.token_hex(4)}"
        os.environ.update(self.environ(self.queue, setup="import"))
        sys.path.insert(0, str(APPS))
        self.app: Any = import_module("stock_only_app")
        self.tasks: Any = import_module("propagation_app")
        self.provider: Any = trace.get_tracer_provider()

    def environ(self, queue: str, setup: str = "documented", **more: str) -> dict[str, str]:
        """Environment of a stock process; spans are exported after 100 ms unless `more` says otherwise."""
        return {
            "TEST_INSTRUMENT": "0",
            "TEST_SETUP": setup,
            "TEST_QUEUE": queue,
            "TEST_BROKER": self.redis_url,
            "TEST_BACKEND": self.redis_url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.sink.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        } | more

    def worker(
        self, queue: str = "", *, setup: str = "documented", env: dict[str, str] | None = None, **options: Any
    ) -> Worker:
        """Start a worker; it ends with the stage at the latest."""
        queue = queue or self.queue
        environ = self.environ(queue, setup, **(env or {}))
        running = Worker("stock_only_app", [queue], cwd=APPS, env=environ, **options)
        self._stack.callback(running.remove_log)
        self._stack.callback(running.stop)
        return running.start()

    def run(self, send: Callable[[], Any], processed: int, patience: float = PATIENCE) -> Forest:
        """Call `send` under a root; return all spans that came until there were `processed` deliveries, or too late."""
        before = len(self.sink.spans)
        with self.provider.get_tracer("stock").start_as_current_span("root"):
            send()
        self.provider.force_flush()
        spans = self.sink.wait_for(
            lambda spans: len(consumers(spans[before:])) >= processed, timeout=patience
        )
        return build(spans[before:])


def consumers(spans: list[Span]) -> list[Span]:
    """The spans of deliveries."""
    return [span for span in spans if span.kind == "consumer"]


@contextmanager
def stage() -> Iterator[Stage]:
    """Run a Redis and a sink for as long as the block lasts."""
    with RedisServer() as server, SpanSink() as sink, ExitStack() as stack:
        yield Stage(server.url, sink, stack)
