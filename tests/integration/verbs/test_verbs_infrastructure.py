"""A broker that restarts or hangs, a worker that hangs: the run goes on afterwards, and is one tree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from handrail_agents import Done
from handrail_harness.errors import StackError
from handrail_harness.faults import Faults
from handrail_harness.stack.embedded import EmbeddedStack

from .line import Line, line_on, paused, restarted
from .verdicts import VERDICTS

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A line on a stack of its own: no other test's broker is restarted."""
    with EmbeddedStack() as stack, line_on(stack, tmp_path_factory.mktemp("line")) as line:
        yield line


def test_restart_broker(line: Line, faults: Faults) -> None:
    """A broker that comes back with its messages, on the same port, costs no span and no hand-off."""
    restarted(line, faults)


def test_pause_broker(line: Line, faults: Faults) -> None:
    """A broker that hangs for a while costs no span and no hand-off."""
    paused(line, faults, journals_elsewhere=False)


def test_pause_worker(line: Line, faults: Faults) -> None:
    """A worker that hangs has not received what was sent to it, until it goes on."""
    with faults.pause_worker(line.workers[0]):
        job, _ = line.send()
        line.expect(job, VERDICTS["pause_worker"], receipts=0, at="first")
    assert line.end(job) == Done("noted")
    line.report(job)


def test_broker_of_somebody_else(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that was found, not started here, is left alone, in one line that says so."""
    monkeypatch.setenv("HANDRAIL_REDIS_URL", line.stack.redis_url)
    with EmbeddedStack() as other, Faults(other) as faults:
        for verb in (faults.restart_broker, faults.pause_broker):
            with pytest.raises(StackError, match="not started here"):
                verb()
    assert faults.injected == []
