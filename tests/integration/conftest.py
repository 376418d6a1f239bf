"""What the integration tests stand on: a real redis-server, a real receiver, real worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.workers import Worker


@pytest.fixture(scope="session")
def stack() -> Iterator[EmbeddedStack]:
    """Redis, receiver and store of this test session; traces and queues of all tests share it."""
    with EmbeddedStack() as embedded:
        yield embedded


@pytest.fixture(scope="session")
def redis_url(stack: EmbeddedStack) -> str:
    """URL (with password) of the stack's redis-server; use queue and key names of your own."""
    return stack.redis_url


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
