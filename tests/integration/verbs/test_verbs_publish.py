"""One header lost or spoilt in the producer: what `check` and `investigate` then say."""

from __future__ import annotations

import os

import pytest

from handrail_agents import Done
from handrail_harness.errors import FaultDidNotBite
from handrail_harness.faults import Faults

from .line import Line
from .verdicts import NOTHING, VERDICTS

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("verb", ["drop_header", "garble_header", "oversize_header"])
def test_traceparent(line: Line, faults: Faults, verb: str) -> None:
    """A hand-off whose traceparent is lost or unreadable: the send is named, the run goes on in another trace."""
    injected = getattr(faults, verb)(task="second")
    job, key = line.send()
    assert line.end(job) == Done("noted")
    found = line.expect(job, VERDICTS[verb], receipts=3)
    assert found.culprit is not None
    assert line.effects(key) == 1
    (bite,) = injected.bites
    assert bite.detail["header"] == "traceparent"


def test_baggage(line: Line, faults: Faults) -> None:
    """A hand-off without its baggage stays under its send: the tree does not hang on it."""
    faults.oversize_header("baggage", queue=line.queue("second"))
    job, _ = line.send()
    assert line.end(job) == Done("noted")
    line.expect(job, NOTHING, receipts=3)


def test_in_this_process(line: Line, faults: Faults) -> None:
    """The verbs bite in the test's own process, too: the first message of a run."""
    with faults.drop_header(task="first") as injected:
        job, _ = line.send()
        (bite,) = injected.bites
    assert bite.detail["pid"] == os.getpid()
    again, _ = line.send()  # undone: this one is as it should be
    assert line.end(job) == line.end(again) == Done("noted")
    line.expect(job, VERDICTS["drop_header"], receipts=3, at="first")
    line.report(again)
    assert len(injected.bites) == 1


def test_fault_that_did_not_bite(line: Line) -> None:
    """A fault that met no message is an error at the end of the test, with its name; it hides no other error."""
    with pytest.raises(FaultDidNotBite, match=r"drop_header \(producer\).*nobody.*did not bite"):
        with_unbitten(line, "drop_header")
    with pytest.raises(ZeroDivisionError) as caught:
        with_unbitten(line, "lose_ack", ZeroDivisionError())
    (note,) = caught.value.__notes__
    assert "lose_ack" in note


def with_unbitten(line: Line, verb: str, error: Exception | None = None) -> None:
    """Inject a fault that meets nothing, in a test that fails with `error`, if there is one."""
    with Faults(line.stack, folder=line.folder) as faults:
        getattr(faults, verb)(task="nobody")
        if error is not None:
            raise error
