"""Workers killed, recycled, without tracing, with a wrong clock, without acknowledgement: what is found then."""

from __future__ import annotations

import pytest

from handrail_agents import Done
from handrail_harness.faults import Faults
from handrail_propagation import conventions as names

from .line import PATIENCE, TWICE, Line
from .verdicts import VERDICTS

pytestmark = pytest.mark.integration


def test_kill_child(line: Line, faults: Faults) -> None:
    """A pool child killed in a tool: its delivery is abandoned, the message runs again, what it had begun is lost."""
    job, key = line.send(wait=True)
    faults.kill_child(
        line.workers[0],
        when=lambda: line.begun(key) and line.recorded(job, "process first", "send second"),
        timeout=PATIENCE,
    )
    line.let_go(key)
    assert line.end(job) == Done("noted")
    line.expect(job, VERDICTS["kill_child"], receipts=4)
    assert line.effects(key) == 1


def test_lose_ack(line: Line, faults: Faults) -> None:
    """A message whose acknowledgement is lost is delivered again, as redelivered, and does nothing twice."""
    faults.lose_ack(task="second")
    job, key = line.send()
    assert line.end(job) == Done("noted")
    found = line.expect(job, VERDICTS["lose_ack"], receipts=TWICE)
    received = [span for span in found.report.forest.spans if span.name == f"process {line.queue('second')}"]
    assert sorted(span.attributes[names.MESSAGE_REDELIVERED] for span in received) == [False, True]
    assert line.effects(key) == 1


def test_kill_worker(line: Line, faults: Faults) -> None:
    """A worker killed in a tool leaves its hand-off without a receipt until another one takes the message."""
    doomed = faults.worker("line:app", [line.queue("third")], **line.options)
    job, key = line.send(wait=True, to="third")
    faults.kill_worker(doomed, when=lambda: line.begun(key), timeout=PATIENCE)
    line.expect(job, VERDICTS["kill_worker"], receipts=1, at="third")


def test_recycle_children(line: Line, faults: Faults) -> None:
    """Children that end after every task lose no span."""
    worker = faults.recycle_children("line:app", [line.queue("third")], **line.options)
    before = worker.pool_pids()
    job, _ = line.send(to="third")
    assert line.end(job) == Done("noted")
    line.expect(job, VERDICTS["recycle_children"], receipts=3, at="third")
    line.until(
        lambda: set(before).isdisjoint(worker.pool_pids()), what="the child that ran it is still there"
    )


def test_uninstrument(line: Line, faults: Faults) -> None:
    """A worker without tracing: its hand-off has no receipt, and what it sends has no send."""
    faults.uninstrument("line:app", [line.queue("third")], **line.options)
    job, key = line.send(to="third")
    assert line.end(job) == Done("noted")
    line.expect(job, VERDICTS["uninstrument"], receipts=2, at="third")
    assert line.effects(key) == 1


def test_offset_clock(line: Line, faults: Faults) -> None:
    """A worker whose clock is an hour ahead: its spans say so, and the tree is whole all the same."""
    faults.offset_clock("line:app", [line.queue("third")], seconds=3600, **line.options)
    job, _ = line.send(to="third")
    assert line.end(job) == Done("noted")
    spans = line.expect(job, VERDICTS["offset_clock"], receipts=3, at="third").report.forest.spans
    (sent,) = [span for span in spans if span.name == f"send {line.queue('third')}"]
    (received,) = [span for span in spans if span.name == f"process {line.queue('third')}"]
    assert 3500e9 < received.start_unix_nano - sent.start_unix_nano < 3700e9
