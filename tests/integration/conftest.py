"""What the integration tests stand on: a real redis-server, a real receiver, real worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from handrail_harness.errors import StackError
from handrail_harness.stack.certificates import ServerCertificate
from handrail_harness.stack.daemon import docker_problem
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.rabbitmq import RabbitMQServer
from handrail_harness.stack.rabbitmq_container import RabbitMQContainer
from handrail_harness.stack.workers import Worker

from .topologies import make_certificate


@pytest.fixture(scope="session")
def stack() -> Iterator[EmbeddedStack]:
    """Redis, receiver and store of this test session; traces and queues of all tests share it."""
    with EmbeddedStack() as embedded:
        yield embedded


@pytest.fixture(scope="session")
def redis_url(stack: EmbeddedStack) -> str:
    """URL (with password) of the stack's redis-server; use queue and key names of your own."""
    return stack.redis_url


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    """A certificate for servers of this session on loopback."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def rabbitmq(certificate: ServerCertificate) -> Iterator[RabbitMQServer | RabbitMQContainer]:
    """This session's RabbitMQ: an installed `rabbitmq-server`, else one in a container.

    Where there is neither, the test is skipped, or, under HANDRAIL_REQUIRE_CONTAINERS as in the gate, fails.
    """
    server: RabbitMQServer | RabbitMQContainer
    try:
        server = RabbitMQServer(certificate=certificate)
    except StackError as missing:
        if (problem := docker_problem()) is not None:
            reason = f"{missing}; {problem}"
            if os.environ.get("HANDRAIL_REQUIRE_CONTAINERS", "") not in ("", "0"):
                pytest.fail(f"HANDRAIL_REQUIRE_CONTAINERS is set, and there is no RabbitMQ: {reason}")
            pytest.skip(reason)
        server = RabbitMQContainer()
    with server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_url(rabbitmq: RabbitMQServer | RabbitMQContainer) -> str:
    """URL (with password) of this session's RabbitMQ; use queue names of your own."""
    return rabbitmq.url


@pytest.fixture(scope="session")
def rabbitmq_tls_url(rabbitmq: RabbitMQServer | RabbitMQContainer) -> str:
    """The same over TLS, with `certificate`; the container does not speak it."""
    if isinstance(rabbitmq, RabbitMQContainer):
        pytest.skip("RabbitMQ runs in a container without TLS; install rabbitmq-server")
    return rabbitmq.tls_url


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
