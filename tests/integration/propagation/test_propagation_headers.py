"""What travels in the headers: baggage by its rules, and never more than a kilobyte, however far it goes."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from celery import chain
from celery.result import AsyncResult
from opentelemetry import baggage, context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from handrail_propagation import run_context, tracer

from .conftest import Scene

pytestmark = pytest.mark.integration

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def arrived(stage: Scene, task_id: str) -> dict[str, Any]:
    """What the task with this id says has arrived."""
    result: dict[str, Any] = AsyncResult(task_id, app=stage.app).get(timeout=60)
    return result


@pytest.mark.parametrize(
    ("sent", "out"),
    [
        ("agent.run.id=a+b;prop=1;other,secret=s", "agent.run.id=a+b;prop=1;other"),
        ("tenant=t%20u%2C,agent.run.id=r", "agent.run.id=r,tenant=t%20u%2C"),
        (",".join(f"x{n}=1" for n in range(63)) + ",tenant=the64th,agent.run.id=the65th", "tenant=the64th"),
        (f"tenant=t,other={'x' * 8200},agent.run.id=late", "tenant=t"),
        ("secret=s", None),
    ],
)
def test_baggage_over_three_hops(stage: Scene, sent: str, out: str | None) -> None:
    """Allowed entries travel on, with properties and plus signs; others, and what exceeds the limits, do not."""
    last = str(uuid4())
    stage.send_raw("relay", {"traceparent": f"00-{TRACE}-{PARENT}-01", "baggage": sent}, 3, last)
    assert arrived(stage, last)["headers"].get("baggage") == out


@pytest.mark.parametrize("way", ["replace", "chain"])
def test_cleared_baggage_stays_cleared(stage: Scene, way: str) -> None:
    """What a task has cleared comes back neither with its replacement nor with the next step of its chain."""
    token = context.attach(baggage.set_baggage("agent.run.id", "run-to-forget"))
    try:
        if way == "replace":
            result = stage.signature("forgets", "agent.run.id", kwargs={"replace": True}).apply_async()
        else:
            steps = stage.signature("forgets", "agent.run.id"), stage.signature("remembers", immutable=True)
            result = chain(*steps, app=stage.app).apply_async()
    finally:
        context.detach(token)
    seen = result.get(timeout=60)
    assert seen["baggage"] == {}
    assert "baggage" not in seen["headers"]
    assert "traceparent" in seen["headers"]


@pytest.mark.parametrize("way", ["hops", "retries"])
def test_headers_do_not_grow(stage: Scene, way: str) -> None:
    """A full tracestate and a run id included, headers take up to 1 KiB: after 100 hops or retries as after one."""
    state = TraceState([(f"k{n:02}", "v" * 27) for n in range(16)])
    parent = set_span_in_context(
        NonRecordingSpan(SpanContext(int(TRACE, 16), int(PARENT, 16), True, TraceFlags(1), state))
    )
    sizes = []
    for times in (1, 100):
        token = context.attach(parent)
        try:
            with run_context(uuid4().hex), tracer().start_as_current_span("root"):
                if way == "hops":
                    last = str(uuid4())
                    stage.send("relay", times, last)
                else:
                    last = stage.send("stubborn", times).id
        finally:
            context.detach(token)
        headers = arrived(stage, last)["headers"]
        assert len(headers["tracestate"]) > 500
        sizes.append(len(json.dumps(headers)))
    assert max(sizes) <= 1024
    assert abs(sizes[1] - sizes[0]) <= 16, "digits of an attempt and of a time, nothing else"


def test_send_task_of_a_name_unknown_here(stage: Scene) -> None:
    """A producer that never imported the task has its span around the real publish, as any other."""
    with tracer().start_as_current_span("root") as root:
        assert "propagation_app.add" not in stage.app.tasks
        stage.send("add", 1, 2)
    forest = stage.trace(f"{root.get_span_context().trace_id:032x}", processed=1)
    (top,) = forest.roots
    (send,) = forest.children_of(top)
    (process,) = forest.children_of(send)
    assert (send.kind, send.status_code) == ("producer", "unset")
    assert top.start_unix_nano <= send.start_unix_nano < send.end_unix_nano <= top.end_unix_nano
    assert process.start_unix_nano > send.start_unix_nano
