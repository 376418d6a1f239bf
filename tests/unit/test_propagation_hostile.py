"""Hostile headers: the work on them is bounded, whatever their size, counted in lines run and bytes taken."""

from __future__ import annotations

import sys
import tracemalloc
from types import FrameType
from typing import Any

import pytest
from opentelemetry import context

from handrail_harness.conformance.hostile import SHAPES
from handrail_propagation import carrier
from handrail_propagation.delivery import Delivery
from handrail_propagation.sender import delegator_of, message_headers, sent_with

from .support.telemetry import record_nowhere

SMALL, BIG = 200_000, 10_000_000
LINES, BYTES = 5_000, 1_000_000


@pytest.fixture(autouse=True)
def spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are recorded, and exported nowhere."""
    record_nowhere(monkeypatch)


def attributes_of(name: str, system: str, task_id: str, request: dict[Any, Any]) -> Any:
    """Return the attributes of a delivery's span."""
    delivery = Delivery(None, system, name, task_id, request)
    context.detach(delivery.token)
    span: Any = delivery.span
    return span.attributes


def read(request: dict[Any, Any]) -> None:
    """What a delivery does with the headers of its message."""
    attributes_of("task", "redis", "id", request)
    headers = message_headers(request)
    delegator_of(sent_with(headers, "continue"))
    out: dict[str, Any] = {}
    carrier.inject(out, carrier.extract(headers).context)
    assert sum(map(len, out.values())) <= 10_000


def cost(headers: dict[Any, Any]) -> tuple[int, int]:
    """Return how many lines of Python ran, and how many bytes were taken at most, to read these headers."""
    lines = 0

    def count(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    read(headers)  # caches of the first time are not what is measured
    tracemalloc.start()
    try:
        read(headers)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    before = sys.gettrace()
    sys.settrace(count)
    try:
        read(headers)
    finally:
        sys.settrace(before)
    return lines, peak


@pytest.mark.parametrize("shape", SHAPES)
def test_work_is_bounded(shape: str) -> None:
    """10 MB and 100,000 pairs take no more lines than 200 kB and 2,000 do, and below 1 MB of memory."""
    small, big = cost(SHAPES[shape](SMALL)), cost(SHAPES[shape](BIG))
    assert big[0] <= LINES
    assert big[0] <= small[0] * 1.1
    assert big[1] <= BYTES


def test_texts_of_a_message_are_cut_and_made_utf_8() -> None:
    """What a span holds of a message is short, and can be exported: one bad text must not cost a batch of spans."""
    request = {"root_id": "r" * 9_000, "parent_id": "a\udcffb", "hostname": "w1"}
    attributes = attributes_of("näme", "redis", "\ud800", request)
    assert len(attributes["agent.message.root_id"]) == 512
    assert attributes["agent.message.parent_id"] == "a?b"
    assert attributes["messaging.message.id"] == "?"
    assert attributes["celery.task_name"] == "näme"
