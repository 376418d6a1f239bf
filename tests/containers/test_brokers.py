"""Brokers in containers that restart on their port, or hang: what becomes of a run, read back from Jaeger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from handrail_harness.errors import StackError
from handrail_harness.faults import Faults
from handrail_harness.stack.containers import ContainerStack
from handrail_harness.stack.rabbitmq import answers
from handrail_harness.stack.rabbitmq_container import RabbitMQContainer
from handrail_harness.stack.service import Broker

from ..integration.verbs.line import Line, WithBroker, line_on, paused, restarted
from .support import our_containers

pytestmark = [pytest.mark.containers, pytest.mark.integration]


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQContainer]:
    """A RabbitMQ of this module's own, which it restarts."""
    before = our_containers()
    with RabbitMQContainer() as broker:
        yield broker
    assert our_containers() == before


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def line(
    request: pytest.FixtureRequest, stack: ContainerStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Line]:
    """`first` and `second` on one worker, their messages in a broker in a container, their journals in Redis."""
    broker: Broker = stack.redis if request.param == "redis" else request.getfixturevalue("rabbitmq")
    with line_on(WithBroker(stack, broker), tmp_path_factory.mktemp("line")) as line:
        yield line


@pytest.fixture
def faults(line: Line) -> Iterator[Faults]:
    """The verbs, undone after the test."""
    with Faults(line.stack, folder=line.folder) as injector:
        yield injector


def test_restart_broker(line: Line, faults: Faults) -> None:
    """A broker whose container is restarted has its port and its messages: no span and no hand-off is lost."""
    restarted(line, faults)


def test_pause_broker(line: Line, faults: Faults) -> None:
    """A broker whose container is frozen for a while costs no span and no hand-off."""
    paused(line, faults, journals_elsewhere=line.stack.broker.url != line.stack.redis_url)


def test_a_broker_that_forgets_hangs_and_dies(rabbitmq: RabbitMQContainer) -> None:
    """Frozen, a RabbitMQ does not answer; restarted without its data, it does, on its port; its death is reported."""
    before = rabbitmq.url
    rabbitmq.pause()
    assert not answers(before, timeout=0.2)
    rabbitmq.restart(keep=False)
    assert rabbitmq.url == before
    assert answers(before)
    rabbitmq.kill()
    with pytest.raises(StackError, match="ended with exit status 137"):
        _ = rabbitmq.url
