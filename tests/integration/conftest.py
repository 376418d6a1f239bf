"""What the integration tests stand on: a real redis-server and real worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from handrail_harness.stack.redis import RedisServer
from handrail_harness.stack.workers import Worker


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL (with password) of a redis-server of this test session; use queue and key names of your own."""
    with RedisServer() as server:
        yield server.url


@pytest.fixture
def worker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Worker]]:
    """Start workers: `worker("module:app", ["queue"], env={...}, cwd=...)`; they stop warm after the test.

    Takes what `Worker` takes. The end of their logs is added to the report of a failed test.
    """
    started: list[Worker] = []

    def start(app: str, queues: list[str] | None = None, **options: Any) -> Worker:
        log_path = tmp_path / f"worker-{len(started)}.log"
        process = Worker(app, queues or [], log_path=log_path, **options)
        started.append(process)
        return process.start()

    yield start
    for process in started:
        process.stop()
        request.node.add_report_section("call", f"worker {process.hostname}", process.log(40))
