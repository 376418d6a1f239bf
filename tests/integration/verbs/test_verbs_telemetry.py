"""Exports refused, delayed, taken in part, taken twice, never answered: what is found then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from handrail_agents import Done
from handrail_harness.faults import Faults
from handrail_harness.faults.relay import Relay
from handrail_harness.stack.workers import Worker

from .line import Line
from .verdicts import VERDICTS

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def relay(line: Line) -> Iterator[Relay]:
    """What the worker of this module exports to."""
    with Relay(line.stack.otlp_endpoint) as relay:
        yield relay


@pytest.fixture(scope="module")
def third(line: Line, relay: Relay) -> Iterator[Worker]:
    """A worker for `third` that exports through the relay, and waits five seconds for an answer."""
    own = line.options
    environ = {**line.stack.environ(), **own.pop("env")}
    environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": relay.endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "5"}
    with Worker("line:app", [line.queue("third")], env=environ, **own) as worker:
        yield worker


@pytest.fixture
def faults(line: Line, relay: Relay, third: Worker) -> Iterator[Faults]:
    """The verbs, with the relay of this module."""
    with Faults(line.stack, folder=line.folder, relay=relay) as injector:
        yield injector


@pytest.mark.parametrize("verb", ["refuse_exports", "repeat_exports", "delay_exports"])
def test_exports_that_come_through(line: Line, faults: Faults, verb: str) -> None:
    """An export that is refused for now, sent twice, or answered late costs no span."""
    injected = faults.delay_exports(0.5) if verb == "delay_exports" else getattr(faults, verb)()
    job, _ = line.send(to="third")
    assert line.end(job) == Done("noted")
    injected.wait()
    line.expect(job, VERDICTS[verb], receipts=3, at="third")


@pytest.mark.parametrize("verb", ["reject_spans", "swallow_exports"])
def test_exports_that_are_lost(line: Line, faults: Faults, verb: str) -> None:
    """Spans that are rejected for good, or that nobody answers for: a delivery is missing, and its message out."""
    injected = faults.reject_spans(1000, times=0) if verb == "reject_spans" else faults.swallow_exports()
    job, _ = line.send(to="third")
    assert line.end(job) == Done("noted")
    injected.wait()
    line.expect(job, VERDICTS[verb], receipts=2, at="third")
