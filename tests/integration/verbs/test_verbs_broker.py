"""Real messages held, changed, doubled, put in another order or lost in the broker, and what is found then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from handrail_agents import Done
from handrail_harness.faults import Faults, Held
from handrail_propagation import conventions as names

from .line import TWICE, Line
from .verdicts import VERDICTS

pytestmark = pytest.mark.integration


@pytest.fixture
def held(line: Line, faults: Faults) -> Iterator[Held]:
    """The queue of `second`, held."""
    with faults.hold(line.queue("second"), workers=line.workers) as queue:
        yield queue


def test_hold_and_release(line: Line, held: Held) -> None:
    """A held hand-off is one that nobody has received; released as it was, it completes the tree."""
    job, key = line.send()
    (message,) = held.wait()
    assert message.task == "second"
    assert names.HEADER_TRACEPARENT in message.headers
    line.expect(job, VERDICTS["hold"], receipts=1)
    held.release()
    assert line.end(job) == Done("noted")
    found = line.expect(job, VERDICTS["release"], receipts=3)
    received = [span for span in found.report.forest.spans if span.kind == "consumer"]
    assert not any(span.attributes[names.MESSAGE_REDELIVERED] for span in received)
    assert line.effects(key) == 1


def test_edit(line: Line, held: Held) -> None:
    """A traceparent that is changed on the way: the hand-off is broken, at its send."""
    job, _ = line.send()
    (message,) = held.wait()
    held.edit(message, {names.HEADER_TRACEPARENT: line.somebody_elses()})
    held.release()
    assert line.end(job) == Done("noted")
    line.expect(job, VERDICTS["edit"], receipts=3)


def test_duplicate(line: Line, held: Held) -> None:
    """A message delivered twice runs once; both deliveries are siblings below their send."""
    job, key = line.send()
    (message,) = held.wait()
    held.duplicate(message)
    held.release()
    assert line.end(job) == Done("noted")
    line.expect(job, VERDICTS["duplicate"], receipts=TWICE)
    assert line.effects(key) == 1


def test_reorder(line: Line, held: Held) -> None:
    """Two runs whose messages change places are two whole trees: order is not what joins them."""
    jobs = [line.send()[0], line.send()[0]]
    first = held.wait(2)
    held.reorder()
    assert held.messages == first[::-1]
    held.release()
    for job in jobs:
        assert line.end(job) == Done("noted")
        line.expect(job, VERDICTS["reorder"], receipts=3)


def test_lose(line: Line, held: Held) -> None:
    """A message that is lost in the broker is a hand-off without consumer; the run never ends."""
    job, _ = line.send()
    (message,) = held.wait()
    held.lose(message)
    held.release()
    found = line.expect(job, VERDICTS["lose"], receipts=1)
    assert found.culprit is not None
    assert found.culprit.span.name == f"send {line.queue('second')}"
