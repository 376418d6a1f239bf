"""Redis and Jaeger in containers, once a session, and a small fleet of agents on them.

Without a Docker daemon the tests marked `containers` are skipped, with the reason. With
HANDRAIL_REQUIRE_CONTAINERS=1, as in the gate, a container test that is skipped for any reason fails.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from handrail_harness.stack.containers import ContainerStack
from handrail_harness.stack.daemon import docker_problem

from .support import Fleet, our_containers

REQUIRE_VARIABLE = "HANDRAIL_REQUIRE_CONTAINERS"

_problem = functools.cache(docker_problem)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip container tests where no daemon answers."""
    if item.get_closest_marker("containers"):
        problem = _problem()
        if problem:
            pytest.skip(problem)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """Make a skipped container test a failed one where container tests are required."""
    report: pytest.TestReport = yield
    required = os.environ.get(REQUIRE_VARIABLE, "") not in ("", "0")
    if required and report.skipped and item.get_closest_marker("containers"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{REQUIRE_VARIABLE} is set, and this test was skipped. {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def no_container_left() -> Iterator[None]:
    """After everything else of the session: no container that it started is left."""
    yield
    if not _problem():
        left = our_containers()
        assert not left, f"containers left behind: {', '.join(left)}"


@pytest.fixture(scope="session")
def stack() -> Iterator[ContainerStack]:
    """Redis and Jaeger of this session; queue names and traces are the tests' own."""
    with ContainerStack() as containers:
        yield containers


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[Mapping[str, str]], Fleet]]:
    """Make a `Fleet` for an environment; its workers stop, and their logs are shown, after the test."""
    made: list[Fleet] = []

    def make(environ: Mapping[str, str]) -> Fleet:
        made.append(Fleet(environ, tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.stop()
        for worker in one.workers:
            request.node.add_report_section("call", f"worker {worker.hostname}", worker.log(40))
