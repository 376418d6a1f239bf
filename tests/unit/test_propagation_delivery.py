"""What a delivery reads from its message, without a worker."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import context
from opentelemetry.sdk.trace import Span, SpanProcessor

from handrail_propagation import conventions as names
from handrail_propagation.delivery import Delivery
from handrail_propagation.ids import choose
from handrail_propagation.lineage import run_id_of
from handrail_propagation.sender import seconds_of

from .support.telemetry import record_nowhere

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SENT = 1_764_037_176.123456


class Starts(SpanProcessor):
    """Keeps the contexts that spans were started in."""

    def __init__(self) -> None:
        self.contexts: list[Any] = []

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self.contexts.append(parent_context)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    """Spans are recorded, and exported nowhere."""
    starts = Starts()
    record_nowhere(monkeypatch, starts)
    return starts


def delivered(**headers: Any) -> Any:
    """Return the span of a delivery of a message with these headers."""
    request = {"lang": "py", "id": "m-1", "root_id": "m-1", "delivery_info": {"routing_key": "q"}, **headers}
    delivery = Delivery(None, "redis", "task", "m-1", request, 1)
    context.detach(delivery.token)
    return delivery.span


def test_the_time_of_sending_has_two_forms(starts: Starts) -> None:
    """Alone it is an integer of microseconds, beside other notes a float of seconds; the span says the same."""
    alone = delivered(handrail_message=round(SENT * 1e6)).attributes
    beside = delivered(handrail_message={"at": SENT, "attempt": 1}).attributes
    assert alone[names.MESSAGE_ENQUEUED_AT] == "2025-11-25T02:19:36.123456+00:00"
    assert dict(alone) == dict(beside)


@pytest.mark.parametrize("at", [None, "now", True, -1, 0, 1 << 80, float("nan"), float("inf"), -1.0, [1]])
def test_what_is_no_time_is_none(at: object) -> None:
    """A sender may write anything."""
    assert seconds_of(at) is None


def test_processors_see_the_context_of_the_message(starts: Starts) -> None:
    """It holds the remote parent and the baggage, or nothing where the message has neither."""
    from opentelemetry.trace import get_current_span

    span = delivered(traceparent=GOOD, baggage="agent.run.id=run-7")
    remote = get_current_span(starts.contexts[0]).get_span_context()
    assert (remote.is_remote, remote.span_id) == (True, span.parent.span_id)
    assert run_id_of(starts.contexts[0]) == span.attributes[names.RUN_ID] == "run-7"
    delivered(traceparent=GOOD)
    assert get_current_span(starts.contexts[1]).get_span_context() == remote
    assert delivered().parent is None
    assert starts.contexts[2] == {}


def test_chosen_ids_are_used(starts: Starts) -> None:
    """The span of a delivery has the ids that the worker's main process chose, under the message's parent or none."""
    ids = choose()
    chosen = {names.REQUEST_CHOSEN_IDS: (1, ids, "q")}
    below, root = delivered(traceparent=GOOD, **chosen).context, delivered(**chosen).context
    assert below.span_id == root.span_id == int.from_bytes(ids[:8], "big")
    assert root.trace_id == int.from_bytes(ids[8:], "big")
    assert f"{below.trace_id:032x}" == GOOD[3:35]
