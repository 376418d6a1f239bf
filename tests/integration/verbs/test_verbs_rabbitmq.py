"""The verbs in and about the broker, over a real RabbitMQ: what is found is the same as over Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from handrail_agents import Done
from handrail_harness.faults import Faults, Held
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.service import Broker
from handrail_propagation import conventions as names

from .line import TWICE, Line, WithBroker, line_on, paused, restarted
from .verdicts import VERDICTS

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def line(stack: EmbeddedStack, rabbitmq: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """`first` and `second` on one worker, their messages in RabbitMQ, their journals in Redis."""
    with line_on(WithBroker(stack, rabbitmq), tmp_path_factory.mktemp("line")) as line:
        yield line


@pytest.fixture
def held(line: Line, faults: Faults) -> Iterator[Held]:
    """The queue of `second`, held."""
    with faults.hold(line.queue("second"), workers=line.workers) as queue:
        yield queue


def test_hold_duplicate_release(line: Line, held: Held) -> None:
    """Held, a message is not received; released twice, it is received twice, and never as redelivered."""
    job, key = line.send()
    (message,) = held.wait()
    assert message.task == "second"
    assert names.HEADER_TRACEPARENT in message.headers
    line.expect(job, VERDICTS["hold"], receipts=1)
    held.duplicate(message)
    held.release()
    assert line.end(job) == Done("noted")
    found = line.expect(job, VERDICTS["duplicate"], receipts=TWICE)
    received = [span for span in found.report.forest.spans if span.kind == "consumer"]
    assert not any(span.attributes[names.MESSAGE_REDELIVERED] for span in received)
    assert line.effects(key) == 1


def test_edit_and_reorder(line: Line, held: Held) -> None:
    """Two messages that change places, one of them with somebody else's traceparent: only that one is found."""
    (edited, _), (whole, _) = line.send(), line.send()
    for message in held.wait(2):
        if line.run_of(message) == edited.run_id:
            held.edit(message, {names.HEADER_TRACEPARENT: line.somebody_elses()})
    held.reorder()
    held.release()
    for job, verb in ((edited, "edit"), (whole, "reorder")):
        assert line.end(job) == Done("noted")
        line.expect(job, VERDICTS[verb], receipts=3)


def test_lose_ack(line: Line, faults: Faults) -> None:
    """An acknowledgement that is lost on its way to RabbitMQ: the message comes again."""
    faults.lose_ack(task="second")
    job, key = line.send()
    assert line.end(job) == Done("noted")
    line.expect(job, VERDICTS["lose_ack"], receipts=TWICE)
    assert line.effects(key) == 1


def test_restart_broker(line: Line, faults: Faults) -> None:
    """A RabbitMQ that comes back with its messages, on the same port, costs no span and no hand-off."""
    restarted(line, faults)


def test_restart_broker_that_forgets(line: Line, faults: Faults) -> None:
    """A RabbitMQ that comes back empty has lost the message: a hand-off that nobody has received, and no run."""
    with faults.pause_worker(line.workers[0]):
        job, _ = line.send()
        faults.restart_broker(keep=False)
    line.expect(job, VERDICTS["lose"], receipts=0, at="first")
    job, _ = line.send()
    assert line.end(job) == Done("noted")
    line.report(job)


def test_pause_broker(line: Line, faults: Faults) -> None:
    """A RabbitMQ that hangs for a while costs no span and no hand-off."""
    paused(line, faults, journals_elsewhere=True)
