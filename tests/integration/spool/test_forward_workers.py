"""Real workers that forward their own spool to a real receiver: in every pool and however they end, all arrives."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from urllib.parse import urlsplit

import psutil
import pytest

from handrail_agents import Done, InDoubt, Job
from handrail_harness.faults.behaviour import SILENT
from handrail_harness.faults.grpc_destination import FaultyGrpcDestination
from handrail_harness.forest import build
from handrail_harness.spans import Span
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.workers import Worker
from handrail_propagation import conventions as names
from handrail_propagation.spool.accounting import account

from ...faults.report import figure
from ...support.processes import kill
from .conftest import PATIENCE, POOLS, Keeping

pytestmark = pytest.mark.integration


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return when `condition` holds; fail after a while."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.02)


def arrived(stack: EmbeddedStack, jobs: Sequence[Job]) -> list[Span]:
    """Everything of these runs that is in the store."""
    with closing(stack.source()) as source:
        return [span for job in jobs for span in source.spans(job.trace_id)]


def assert_complete(keeping: Keeping, spans: Sequence[Span]) -> None:
    """Every effect's span is there, once, ended, and under its parent."""
    ids = [span.span_id for span in spans]
    assert [span for span in spans if ids.count(span.span_id) > 1] == []
    effects = [*keeping.done("note"), *keeping.done("look"), *keeping.done("fatal")]
    assert effects
    assert set(effects) <= set(ids)
    assert all(span.end_unix_nano for span in spans)
    assert build(spans).orphans == ()
    total = account(keeping.spool).total
    assert total.is_exact
    assert (total.pending, total.quarantined, total.dropped) == (0, 0, 0)


def assert_main_process_alone_exports(running: Worker, stack: EmbeddedStack) -> None:
    """The worker's main process is connected to the destination, and no pool child, though each has recorded."""
    port = urlsplit(stack.otlp_endpoint).port

    def exporting(pid: int) -> bool:
        return any(one.raddr and one.raddr.port == port for one in psutil.Process(pid).net_connections())

    wait_until(lambda: exporting(running.pid), "a connection to the destination")
    children = running.pool_pids()
    assert len(children) == 2
    assert not any(exporting(child) for child in children)


def keep_figure(keeping: Keeping, spans: Sequence[Span], what: str) -> None:
    """Keep how many of the calls that a worker made are in the store."""
    effects = {*keeping.done("note"), *keeping.done("look")}
    lost = len(effects - {span.span_id for span in spans})
    figure(f"worker {what}", effects=len(effects), lost=lost)


OVER_GRPC = [("prefork", ["--max-tasks-per-child=1"]), ("gevent", [])]
"""Where gRPC's threads meet forks, and gevent's patches."""


@pytest.mark.parametrize(
    ("over", "pool", "arguments"),
    [*(("http", *pool) for pool in POOLS), *(("grpc", *pool) for pool in OVER_GRPC)],
)
def test_everything_of_every_pool_arrives(
    keeping: Keeping, stack: EmbeddedStack, over: str, pool: str, arguments: list[str]
) -> None:
    """After a worker has stopped, every span of its calls is in the store, in whole trees, and its spool is empty."""
    keeping.forward_to(stack.otlp_endpoint)
    env = {"HANDRAIL_FORWARD_TO": f"grpc://{stack.grpc_endpoint}"} if over == "grpc" else {}
    running = keeping.worker("keeper", pool=pool, arguments=arguments, concurrency=2, env=env)
    jobs = [keeping.ops.send("keeper", times=3) for _ in range(3)]
    assert all(isinstance(job.result(timeout=PATIENCE), Done) for job in jobs)
    if pool == "prefork" and not arguments:
        assert_main_process_alone_exports(running, stack)
    running.stop()
    spans = arrived(stack, jobs)
    assert_complete(keeping, spans)
    assert len([span for span in spans if span.name.startswith("execute_tool")]) == 18
    assert not [span for span in spans if span.attributes.get(names.ABANDONED)]
    if over == "http":
        keep_figure(keeping, spans, " ".join([pool, *arguments]))


@pytest.mark.parametrize("spool", [True, False], ids=["forwarder", "exporters"])
def test_greenlets_do_not_wait_for_a_destination_over_grpc(keeping: Keeping, spool: bool) -> None:
    """While a destination keeps a gevent worker's export waiting, for longer than this test does, its tasks go on."""
    with FaultyGrpcDestination() as silent:
        silent.behaviour = SILENT
        env = {
            "HANDRAIL_FORWARD": "worker",
            "HANDRAIL_FLUSH_TIMEOUT": "0.1",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": silent.endpoint.replace("grpc:", "http:"),
            "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        if not spool:
            env["HANDRAIL_SPOOL_DIR"] = ""
        running = keeping.worker("keeper", pool="gevent", env=env)
        assert isinstance(keeping.ops.send("keeper", times=1).result(timeout=PATIENCE), Done)
        wait_until(lambda: silent.requests > 0, "an export")
        assert isinstance(keeping.ops.send("keeper", times=1).result(timeout=PATIENCE), Done)
        assert set(silent.answered) == {SILENT}
        running.kill()  # it would wait for its last export


@pytest.mark.parametrize(
    ("pool", "number"),
    [
        *(("prefork", number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)),
        *((pool, signal.SIGQUIT) for pool in ("threads", "solo", "gevent")),  # the coldest of the three
    ],
)
def test_everything_arrives_however_a_worker_is_stopped(
    keeping: Keeping, stack: EmbeddedStack, pool: str, number: int
) -> None:
    """A worker that is told to stop in the middle of the work delivers what it did before it ends.

    Where tasks share its process they may do one more thing behind its back, which the next worker delivers.
    """
    keeping.forward_to(stack.otlp_endpoint)
    running = keeping.worker("keeper", pool=pool, concurrency=2)
    jobs = [keeping.ops.send("keeper", times=30) for _ in range(2)]
    wait_until(lambda: len(keeping.done("note")) >= 10, "work")
    os.kill(running.pid, number)
    wait_until(lambda: not running.running, "the end of the worker")
    if pool == "prefork":
        spans = arrived(stack, jobs)
    else:
        keeping.worker("nobody").stop()
        # A request that was under way is repeated if its sender did not live to see the answer: the same records
        spans = list(
            {span.text(names.RECORD_ID) or span.span_id: span for span in arrived(stack, jobs)}.values()
        )
    assert_complete(keeping, spans)
    if pool == "prefork":
        keep_figure(keeping, spans, signal.Signals(number).name)


def test_a_child_that_is_killed_leaves_no_orphan(keeping: Keeping, stack: EmbeddedStack) -> None:
    """The call in which a pool child was killed is there with an error, the child's signal, and its parents."""
    keeping.forward_to(stack.otlp_endpoint)
    running = keeping.worker("doomed")
    job = keeping.ops.send("doomed")
    assert isinstance(job.result(timeout=PATIENCE), InDoubt)
    running.stop()  # a child's span arrives before its parent's: only now everything has
    spans = arrived(stack, [job])
    # There is a second one of that name, of the attempt that finds the call in doubt
    calls = [span for span in spans if span.name == "execute_tool fatal"]
    (span,) = [span for span in calls if span.span_id in keeping.done("fatal")]
    assert span.status_code == "error"
    assert span.attributes[names.ERROR_TYPE] == names.ERROR_WORKER_LOST
    assert span.attributes[names.ABANDONED] is True
    assert "SIGKILL" in str(span.attributes[names.ABANDONED_REASON])
    assert build(spans).orphans == ()
    assert len({one.span_id for one in spans}) == len(spans)


def test_what_a_killed_worker_left_is_delivered_by_the_next(keeping: Keeping, stack: EmbeddedStack) -> None:
    """SIGKILL of a whole worker: the next one on the same folder delivers its records and ends its open spans."""
    keeping.forward_to(stack.otlp_endpoint)
    running = keeping.worker("keeper", concurrency=2)
    jobs = [keeping.ops.send("keeper", times=30) for _ in range(2)]
    wait_until(lambda: len(keeping.done("note")) >= 5, "work")
    kill((running.pid, *running.pool_pids()))
    running.stop()
    keeping.worker("nobody").stop()
    spans = arrived(stack, jobs)
    assert_complete(keeping, spans)
    assert [span for span in spans if span.attributes.get(names.ABANDONED)]
