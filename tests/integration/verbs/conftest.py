"""A line on one worker a session, a sender in this process, and `faults` for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from handrail_harness.faults import Faults
from handrail_harness.stack.embedded import EmbeddedStack

from ...support.sender import traced_sender
from .line import Line


@pytest.fixture(scope="session")
def made() -> Iterator[list[Line]]:
    """The line of this session, once a module has asked for it; its worker stops in the end."""
    lines: list[Line] = []
    yield lines
    for line in lines:
        line.close()
        line.source.close()


@pytest.fixture(scope="module")
def line(stack: EmbeddedStack, made: list[Line], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """`first` and `second` on one worker, the same for all modules, and a sender in this process that is traced."""
    with traced_sender(stack.otlp_endpoint):
        if not made:
            made.append(Line(stack, stack.source(), tmp_path_factory.mktemp("line")))
            made[0].worker("first", "second")
        yield made[0]


@pytest.fixture
def faults(line: Line) -> Iterator[Faults]:
    """The verbs, on the line of this module; undone after the test."""
    with Faults(line.stack, folder=line.folder) as injector:
        yield injector


@pytest.fixture(autouse=True)
def _logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Add what the workers said, and the faults injected, to the report of a failed test."""
    yield
    made = request.node.funcargs.get("line")
    for worker in made.workers if isinstance(made, Line) else ():
        request.node.add_report_section("call", f"worker {worker.hostname}", worker.log(60))
    if (injector := request.node.funcargs.get("faults")) is not None:
        request.node.add_report_section("call", "faults", str(injector))
