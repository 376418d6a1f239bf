"""One call instruments producers and workers of every pool, and nothing is lost when a worker stops."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from handrail_harness.forest import Forest, build
from handrail_harness.spans import Span
from handrail_harness.stack.process import Child
from handrail_propagation import conventions as names
from handrail_propagation import run_context, tracer

APPS = Path(__file__).parent / "apps"
AUTO = [sys.executable, "-c", "from opentelemetry.instrumentation.auto_instrumentation import run; run()"]

pytestmark = pytest.mark.integration


def of_kind(forest: Forest, kind: str) -> list[Span]:
    found = [span for span in forest.spans if span.kind == kind]
    assert found
    return found


def assert_whole(forest: Forest) -> None:
    """One trace, one root, no orphan, nothing twice; the creation context is a delivery's parent and link."""
    assert len({span.trace_id for span in forest.spans}) == 1
    assert len(forest.roots) == 1
    assert not forest.orphans
    assert not forest.duplicates
    for span in of_kind(forest, "consumer"):
        parent = forest.by_key[(span.trace_id, span.parent_span_id)]
        assert parent.kind == "producer"
        creation = [
            link for link in span.links if link.attributes[names.LINK_TYPE] == names.LINK_CREATION_CONTEXT
        ]
        assert [(link.trace_id, link.span_id) for link in creation] == [(parent.trace_id, parent.span_id)]


@pytest.mark.parametrize(
    ("pool", "broker"),
    [
        ("prefork", "redis"),
        ("solo", "redis"),
        ("threads", "redis"),
        ("gevent", "redis"),
        # Over another broker the pool is the same; but who acknowledges is another thread of it, on other sockets.
        ("prefork", "rabbitmq"),
        ("gevent", "rabbitmq"),
    ],
    indirect=["broker"],
)
def test_every_pool_gives_one_tree(scene: Any, pool: str) -> None:
    """Depth 3 x fan-out 3 over a worker of any pool is one tree: one trace, one root, no orphan."""
    scene.worker(pool, concurrency=2)
    with run_context(f"run-{pool}"), tracer().start_as_current_span("root"):
        scene.send("fan_out", 3, 3)
    forest = scene.forest(processed=1 + 3 + 9)
    assert_whole(forest)
    assert len(of_kind(forest, "producer")) == 13
    assert {span.attributes.get(names.RUN_ID) for span in forest.spans} == {f"run-{pool}"}
    messages = of_kind(forest, "producer") + of_kind(forest, "consumer")
    assert {span.attributes[names.MESSAGING_SYSTEM] for span in messages} == {scene.broker.system}
    assert {span.attributes[names.MESSAGING_DESTINATION_NAME] for span in messages} == {scene.queue}


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads", "gevent"])
def test_a_warm_stop_loses_nothing(scene: Any, pool: str) -> None:
    """With the default batch delay of 5 s, every span of a worker arrives because the stop flushes."""
    running = scene.worker(pool, env={"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    results = [scene.send("add", number, 1) for number in range(10)]
    assert [result.get(timeout=60) for result in results] == list(range(1, 11))
    running.stop()
    forest = scene.forest(processed=10)
    assert len(of_kind(forest, "producer")) == 10
    assert not forest.orphans


def test_a_child_per_task_loses_nothing(scene: Any) -> None:
    """With --max-tasks-per-child=1 each child leaves by os._exit after one task; its spans arrive before."""
    scene.worker(
        "prefork",
        env={"OTEL_BSP_SCHEDULE_DELAY": "60000"},
        arguments=["--max-tasks-per-child=1"],
        concurrency=2,
    )
    pids = {scene.send("pid").get(timeout=60) for _ in range(6)}
    assert len(pids) == 6
    assert not scene.forest(processed=6).orphans


def test_depth_6_by_fan_out_5(scene: Any) -> None:
    """The shape that issue after issue reports as broken: 3,906 deliveries in six levels, one tree."""
    scene.worker("prefork", concurrency=2, env={"OTEL_BSP_MAX_QUEUE_SIZE": "20000"})
    with tracer().start_as_current_span("root"):
        scene.send("fan_out", 6, 5)
    expected = sum(5**level for level in range(6))
    spans = scene.spans(processed=expected, timeout=120)
    forest = build(spans)
    assert_whole(forest)
    assert len(of_kind(forest, "producer")) == expected


@pytest.mark.parametrize("order", ["stock-first", "ours-first", "ours-twice", "late"])
def test_switched_on_together_with_the_stock_instrumentor(scene: Any, order: str) -> None:
    """Stock and ours in either order, ours twice, or ours late: one span on each side of a message."""
    env = {"TEST_INSTRUMENT": "0", "TEST_ORDER": order}
    scene._start("coexistence_app", [scene.queue], cwd=APPS, env=scene.environ(**env))
    with tracer().start_as_current_span("root"):
        scene.send("twice", 2)
    forest = scene.forest(processed=3)
    assert_whole(forest)
    assert len(of_kind(forest, "producer")) == 3
    assert {span.name for span in of_kind(forest, "consumer")} == {f"process {scene.queue}"}


def test_under_opentelemetry_instrument(scene: Any) -> None:
    """`opentelemetry-instrument` loads both, the app calls instrument() as well: nothing is doubled."""
    env = scene.environ(
        OTEL_SERVICE_NAME="auto", OTEL_METRICS_EXPORTER="none", OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION="false"
    )
    code = (
        "import propagation_app as p\n"
        "from opentelemetry import trace\n"
        "with trace.get_tracer('t').start_as_current_span('root'):\n"
        "    [p.add.delay(n, n) for n in range(3)]\n"
        "trace.get_tracer_provider().shutdown()\n"
    )
    scene.worker()
    subprocess.run(
        [
            *AUTO,
            sys.executable,
            "-c",
            code,
        ],
        cwd=APPS,
        env={**os.environ, **env},
        check=True,
        timeout=60,
    )
    forest = scene.forest(processed=3)
    assert_whole(forest)
    assert [span.name for span in of_kind(forest, "producer")] == [f"send {scene.queue}"] * 3


def test_a_worker_under_opentelemetry_instrument(scene: Any, tmp_path: Path) -> None:
    """A prefork worker under `opentelemetry-instrument`, with the SDK's own provider, loses nothing."""
    env = scene.environ(
        OTEL_METRICS_EXPORTER="none", OTEL_BSP_SCHEDULE_DELAY="60000", OTEL_TRACES_EXPORTER="otlp"
    )
    env["TEST_INSTRUMENT"] = "0"
    command = [*AUTO, sys.executable, "-m", "celery", "-A", "propagation_app", "worker", "-Q", scene.queue]
    command += ["-c", "1", "-l", "INFO", "--without-mingle", "--without-gossip"]
    child = Child(command, log_path=tmp_path / "log", env={**os.environ, **env}, cwd=APPS)
    try:
        child.wait_until(lambda: " ready." in child.log(), what="worker", timeout=60)
        with tracer().start_as_current_span("root"):
            results = [scene.send("add", number, 1) for number in range(5)]
        assert [result.get(timeout=60) for result in results] == list(range(1, 6))
    finally:
        child.close(grace=60)  # as long as a warm stop may take
    assert "Failed to detach" not in child.log()
    forest = scene.forest(processed=5)
    assert_whole(forest)
