"""What opentelemetry-instrumentation-celery makes of the situations in docs/propagation.md; numbers, no opinions.

Each function is one situation and returns what was counted. The tasks are those of our own tests.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import redis
from celery import chain, chord, group
from celery.app.task import Context as Request
from celery.result import AsyncResult
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.celery import celery_getter
from opentelemetry.propagate import extract
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from handrail_harness.conformance.hostile import SHAPES
from handrail_harness.forest import Forest
from handrail_harness.spans import Span
from handrail_harness.stack.process import Child

from .stage import APPS, PATIENCE, Stage, consumers

Numbers = dict[str, Any]
TRACE, PARENT = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
HUGE: Final = 10_000_000
"""Bytes of the largest headers that are read."""


def depth_of(forest: Forest, span: Span) -> int:
    """How many spans of messages a span is below, itself included; the producer's root is not counted."""
    return 1 + sum(above.kind in ("producer", "consumer") for above in forest.ancestors_of(span))


def in_order(forest: Forest) -> list[Span]:
    """Deliveries, earliest first."""
    return sorted(consumers(list(forest.spans)), key=lambda span: span.start_unix_nano)


def delivery_above(forest: Forest, span: Span) -> Span | None:
    """The delivery whose work has sent a delivery's message; `None` where that was the root."""
    return next((above for above in forest.ancestors_of(span) if above.kind == "consumer"), None)


def pools(stage: Stage) -> Numbers:
    """Ten tasks over a worker of each pool, set up as documented: how many consumer spans come?"""
    found = {}
    for pool in ("prefork", "solo", "threads", "gevent"):
        queue = f"{stage.queue}-{pool}"
        running = stage.worker(queue, pool=pool)
        before = len(stage.sink.spans)
        sent = [stage.tasks.add.apply_async((number, 1), queue=queue) for number in range(10)]
        for one in sent:
            one.get(timeout=PATIENCE)
        stage.sink.wait_for(lambda spans, n=before: len(consumers(spans[n:])) >= 10, timeout=3)  # type: ignore[misc]
        running.stop()
        found[pool] = len(consumers(stage.sink.spans[before:]))
    return {"tasks": 10, **found}


def stops(stage: Stage) -> Numbers:
    """Ten tasks, and the default delay of 5 s: how many consumer spans come from a worker that stops warm?"""
    found = {}
    for name, arguments in (("warm_stop", []), ("child_per_task", ["--max-tasks-per-child=1"])):
        queue = f"{stage.queue}-{name}"
        running = stage.worker(queue, env={"OTEL_BSP_SCHEDULE_DELAY": "5000"}, arguments=arguments)
        before = len(stage.sink.spans)
        sent = [stage.tasks.add.apply_async((number, 1), queue=queue) for number in range(10)]
        for one in sent:
            one.get(timeout=PATIENCE)
        running.stop()
        found[name] = len(consumers(stage.sink.spans[before:]))
    return {"tasks": 10, **found}


def wide_tree(stage: Stage) -> Numbers:
    """Depth 6 by fan-out 5."""
    running = stage.worker(f"{stage.queue}-wide", env={"OTEL_BSP_MAX_QUEUE_SIZE": "20000"}, concurrency=2)
    expected = sum(5**level for level in range(6))
    sent: Callable[[], Any] = lambda: stage.tasks.fan_out.apply_async((6, 5), queue=f"{stage.queue}-wide")  # noqa: E731
    forest = stage.run(sent, expected, patience=150)
    running.stop()
    found = consumers(list(forest.spans))
    return {
        "deliveries": len(found),
        "traces": len({span.trace_id for span in forest.spans}),
        "roots": len(forest.roots),
        "orphans": len(forest.orphans),
        "linked": sum(bool(span.links) for span in found),
    }


def retries(stage: Stage, times: int = 5) -> Numbers:
    """A task that fails so often before it succeeds."""
    forest = stage.run(lambda: stage.tasks.flaky.delay(times), times + 1)
    found = in_order(forest)
    return {
        "retries": times,
        "depth": max(depth_of(forest, span) for span in found),
        "failed_unset": sum(span.status_code == "unset" for span in found[:-1]),
        "linked": sum(bool(span.links) for span in found),
        "text_on_spans": sum("secret text" in repr(span) for span in found),
    }


def chains(stage: Stage) -> Numbers:
    """A chain of 50 steps."""
    add = stage.tasks.add
    forest = stage.run(lambda: chain(add.s(0, 1), *[add.s(1)] * 49).apply_async(), 50)
    found = in_order(forest)
    return {
        "steps": len(found),
        "depth": max(depth_of(forest, span) for span in found),
        "linked": sum(bool(span.links) for span in found),
    }


def groups(stage: Stage) -> Numbers:
    """A group of 5, and a chord of 4 with a body."""
    add = stage.tasks.add
    forest = stage.run(lambda: group(add.s(n, n) for n in range(5)).apply_async(), 5)
    under_root = sum(delivery_above(forest, span) is None for span in in_order(forest))
    forest = stage.run(lambda: chord([add.s(n, n) for n in range(4)])(stage.tasks.total.s()), 5)
    *_, body = in_order(forest)
    above = delivery_above(forest, body)
    return {
        "members": 5,
        "under_root": under_root,
        "body_under_header": int(above is not None),
        "body_links": len(body.links),
    }


def replacement(stage: Stage) -> Numbers:
    """A task that replaces itself."""
    forest = stage.run(lambda: stage.tasks.replaced.delay(2, 3), 2)
    first, second = in_order(forest)
    above = delivery_above(forest, second)
    return {
        "under_the_replaced": int(above is not None and above.span_id == first.span_id),
        "depth": depth_of(forest, second),
        "replaced_status": first.status_code,
        "replaced_state": str(first.attributes.get("celery.state")),
        "links": len(second.links),
    }


def callbacks(stage: Stage) -> Numbers:
    """`link` after a success, `link_error` after a failure."""
    tasks = stage.tasks

    def send() -> None:
        tasks.add.apply_async((1, 2), link=tasks.add.s(10))
        tasks.raises.apply_async(("text",), link_error=tasks.pid.si())

    forest = stage.run(send, 4)
    found = in_order(forest)
    followers = [span for span in found if delivery_above(forest, span) is not None]
    return {
        "followers": 2,
        "under_the_run": len(followers),
        "linked": sum(bool(span.links) for span in found),
    }


def beat(stage: Stage) -> Numbers:
    """`celery beat`, set up in both ways: what is above its deliveries?"""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "celery", "-A", "stock_only_app", "beat"]
        command += ["-s", f"{folder}/schedule", "--pidfile", ""]
        found = {}
        for setup in ("documented", "import"):
            environ = {**os.environ, **stage.environ(stage.queue, setup, TEST_BEAT="1")}
            before = len(stage.sink.spans)
            child = Child(command, log_path=Path(folder) / f"{setup}.log", env=environ, cwd=APPS)
            try:
                stage.sink.wait_for(
                    lambda spans, n=before: len(consumers(spans[n:])) >= 3,  # type: ignore[misc]
                    timeout=PATIENCE,
                )
            finally:
                child.close()
            spans = stage.sink.wait_for(
                lambda spans, n=before: _sent_runs(spans[n:]) == len(consumers(spans[n:])),  # type: ignore[misc]
                timeout=2,
            )[before:]
            runs = consumers(spans)
            found[f"{setup}_runs"] = len(runs)
            found[f"{setup}_traces"] = len({span.trace_id for span in runs})
            found[f"{setup}_sends"] = _sent_runs(spans)
        return found


def _sent_runs(spans: list[Span]) -> int:
    """How many deliveries have the span of their send above them."""
    sends = {span.span_id for span in spans if span.kind == "producer"}
    return sum(span.parent_span_id in sends for span in consumers(spans))


def hostile(stage: Stage) -> Numbers:
    """Headers of a megabyte on real messages; and what reading ten megabytes of them takes."""
    sent = {}
    for shape, make in SHAPES.items():
        headers = {str(key): value for key, value in make(1_000_000).items() if not isinstance(value, bytes)}
        for name in ("eta", "headers"):
            headers.pop(name, None)
        if shape == "list":
            headers = {"traceparent": ["00-" + "1" * 32 + "-" + "2" * 16 + "-01"] * 1000}
        sent[_send_raw(stage, headers)] = shape
    before = len(stage.sink.spans)
    done = 0
    for task_id in sent:
        try:
            AsyncResult(task_id, app=stage.tasks.app).get(timeout=5)
            done += 1
        except Exception as error:  # noqa: BLE001 - that is what is counted
            print(f"hostile {sent[task_id]}: {type(error).__name__}", file=sys.stderr)
    spans = stage.sink.wait_for(lambda spans: len(consumers(spans[before:])) >= len(sent), timeout=5)
    costs = [_cost_of_reading(make(HUGE)) for make in SHAPES.values()]
    return {
        "shapes": len(SHAPES),
        "done": done,
        "spans": len({span.attributes.get("messaging.message.id") for span in spans} & set(sent)),
        "worst_milliseconds": round(max(seconds for seconds, _ in costs) * 1000, 1),
        "worst_bytes": max(taken for _, taken in costs),
    }


def _send_raw(stage: Stage, headers: dict[str, Any]) -> str:
    app, task_id = stage.tasks.app, str(uuid4())
    with app.connection_for_write() as connection:
        message = app.amqp.as_task_v2(task_id, "propagation_app.add", (1, 2), {})
        connection.Producer(serializer="json").publish(
            message.body,
            exchange="",
            routing_key=stage.queue,
            declare=[app.amqp.queues[stage.queue]],
            headers={**message.headers, **headers},
            **message.properties,
        )
    return task_id


def _cost_of_reading(headers: dict[Any, Any]) -> tuple[float, int]:
    """Seconds of CPU and bytes that the stock consumer takes to read a message's headers; failing counts."""
    request = Request({str(key): value for key, value in headers.items()})
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        _read(request)
        best = min(best, time.process_time() - started)
    tracemalloc.start()
    _read(request)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return best, taken


def _read(request: Request) -> None:
    try:
        extract(request, getter=celery_getter)  # type: ignore[misc]
    except Exception as error:  # noqa: BLE001 - Celery's signals swallow it, and the task runs without a span
        print(f"reading: {type(error).__name__}", file=sys.stderr)


def header_sizes(stage: Stage) -> Numbers:
    """Bytes of trace headers after one and after 100 hops and retries, with a full tracestate and a run id."""
    state = TraceState([(f"k{n:02}", "v" * 27) for n in range(16)])
    parent = set_span_in_context(NonRecordingSpan(SpanContext(TRACE, PARENT, True, TraceFlags(1), state)))
    found = {}
    for way in ("hops", "retries"):
        for times in (1, 100):
            last = str(uuid4())
            token = context.attach(baggage.set_baggage("agent.run.id", uuid4().hex, parent))
            try:
                if way == "hops":
                    stage.tasks.relay.delay(times, last)
                else:
                    stage.tasks.stubborn.apply_async((times,), task_id=last)
            finally:
                context.detach(token)
            headers = _result(stage, last, way)["headers"]
            found[f"{way}_{times}"] = sum(len(name) + len(str(value)) for name, value in headers.items())
            found[f"{way}_{times}_tracestate"] = len(headers.get("tracestate", ""))
    return found


def _result(stage: Stage, task_id: str, way: str) -> dict[str, Any]:
    result: dict[str, Any] = AsyncResult(task_id, app=stage.tasks.app).get(timeout=PATIENCE)
    return result


def cleared_baggage(stage: Stage) -> Numbers:
    """An entry that a task clears before its retry, and before the next step of its chain."""
    tasks, found = stage.tasks, {}
    for way in ("retry", "replace", "chain"):
        token = context.attach(baggage.set_baggage("agent.run.id", "run-to-forget"))
        try:
            if way == "retry":
                result = tasks.forgetful.delay("agent.run.id")
            elif way == "replace":
                result = tasks.forgets.delay("agent.run.id", replace=True)
            else:
                result = chain(tasks.forgets.s("agent.run.id"), tasks.remembers.si()).apply_async()
        finally:
            context.detach(token)
        seen = result.get(timeout=PATIENCE)
        found[way] = int("agent.run.id" in (seen if way == "retry" else seen["baggage"]))
    return found


def headers_of_ones_own(stage: Stage) -> Numbers:
    """A creation context that the application supplies; arguments in the message."""
    own = f"00-{'1' * 32}-{'2' * 16}-01"
    queue = f"{stage.queue}-unread"
    stage.tasks.echo_headers.apply_async(queue=queue, headers={"traceparent": own}, argsrepr="secret")
    with redis.Redis.from_url(stage.redis_url) as client:
        (message,) = client.lrange(queue, 0, -1)
    return {"overwritten": int(own.encode() not in message), "arguments": int(b"secret" in message)}


def failed_publish(stage: Stage) -> Numbers:
    """A message that no broker takes: is its span exported, and what is current afterwards?"""
    app = stage.tasks.app
    before = len(stage.sink.spans)
    with (
        stage.provider.get_tracer("stock").start_as_current_span("root") as root,
        app.connection("redis://127.0.0.1:1/0") as nowhere,
    ):
        stayed, failed = None, False
        try:
            stage.tasks.add.apply_async((1, 2), connection=nowhere, retry=False)
        except Exception:  # noqa: BLE001 - whatever kombu makes of it
            failed = True
        stayed = trace.get_current_span() is not root
    stage.provider.force_flush()
    spans = stage.sink.wait_for(lambda spans: any(span.name == "root" for span in spans[before:]))
    return {
        "failed": int(failed),
        "exported": sum(span.kind == "producer" for span in spans[before:]),
        "stays_current": int(stayed),
    }


SITUATIONS: dict[str, Callable[[Stage], Numbers]] = {
    function.__name__: function
    for function in (
        retries,
        chains,
        groups,
        replacement,
        callbacks,
        beat,
        hostile,
        header_sizes,
        cleared_baggage,
        headers_of_ones_own,
        wide_tree,
        pools,
        stops,
        failed_publish,
    )
}
"""By name. The last one leaves a span current in the producer, as it counts."""
