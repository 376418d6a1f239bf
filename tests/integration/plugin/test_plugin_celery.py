"""Celery projects without agents: with our propagation, with the stock instrumentation, with none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handrail_harness.sources.otlpfile import OTLPFileSource

from .conftest import Project

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.integration

SHOP = """
import shop
from handrail_harness import handoff, task


def test_a_task_and_what_it_sends(handrail):
    run = handrail.run(lambda: shop.charge.delay(5))
    run.assert_unified()
    assert run.result() == 5
    run.matches(task("shop.charge", handoff("shop.receipt", attempts=1)), exact=True)
    assert run.tasks("shop.receipt").only().path == ("shop.charge", "shop.receipt")


def test_a_block_is_one_run(handrail):
    with handrail.run() as run:
        first = shop.charge.delay(1)
        shop.receipt.delay(2)
    run.matches(task("shop.charge"), task("shop.receipt"))
    assert first.get(timeout=60) == 1
    run.tasks("shop.receipt").times(2)
"""
STOCK = """
import pytest
from opentelemetry.instrumentation.celery import CeleryInstrumentor


@pytest.fixture(scope="session", autouse=True)
def instrumented(handrail):
    CeleryInstrumentor().instrument(tracer_provider=handrail.tracer_provider)
    yield
    CeleryInstrumentor().uninstrument()


"""
TORN_OFF = """
import shop


def test_torn_off(handrail, faults):
    faults.drop_header("traceparent", task="shop.receipt")
    handrail.run(lambda: shop.charge.delay(5)).result()
"""
TYPING_ERRORS = """
import pytest
import shop
from handrail_harness import handoff, task
from handrail_harness.errors import RunAssertion

MEANT = "declares no .* 'shop.recipt'; did you mean 'shop.receipt'"


def test_absent(handrail):
    run = handrail.run(lambda: shop.charge.delay(5))
    for query in (run.tasks("shop.recipt"), run.handoffs("shop.recipt"), run.tasks().delegated_to("shop.recipt")):
        with pytest.raises(RunAssertion, match=MEANT):
            query.absent()
    run.tasks("shop.unused").absent()  # declared
    run.tasks("elsewhere.work").absent()  # routed
    run.tasks().where(name="shop.recipt").absent()  # on purpose


def test_shapes(handrail):
    run = handrail.run(lambda: shop.charge.delay(5))
    for kind in (task, handoff):
        with pytest.raises(RunAssertion, match=MEANT):
            run.matches(task("shop.charge", kind("shop.recipt", times=0)))
    run.matches(task("shop.charge", task("shop.unused", times=0)))
    with pytest.raises(TypeError, match="that is no shape; use agent"):
        run.matches("shop.charge")


def test_sent_too_early(handrail):
    with pytest.raises(TypeError, match="AsyncResult, and what made it was no part of the run"):
        handrail.run(shop.charge.delay(5))


def test_invariants(handrail):
    run = handrail.run(lambda: shop.charge.delay(5))
    for wrong, told in (
        (["one_tre"], "no invariant is named 'one_tre'"),
        ([], "one at least"),
        ("one_trace", "a list"),
    ):
        with pytest.raises(ValueError, match=told):
            run.assert_unified(wrong)
    run.assert_unified(["one_trace"])


def test_inside_its_block(handrail):
    with handrail.run() as run:
        shop.receipt.delay(1)
        with pytest.raises(RunAssertion, match="its with block has not ended"):
            run.tasks("shop.receipt")
    run.tasks("shop.receipt").only()
"""
SILENT = """
import shop


def test_nothing_traced(handrail):
    handrail.run(lambda: shop.charge.delay(5)).result()
"""
NO_REDIS = """
import pytest
from handrail_harness.testing.tiers import thread

thread.redis_here = lambda: False


@pytest.fixture(autouse=True)
def really_none(handrail):
    assert handrail.redis_url == ""
    yield


"""
FORKED = """
import shop


def test_lost_at_fork(handrail):
    run = handrail.run(lambda: shop.charge.delay(5))
    assert run.result() == 5
    run.assert_unified()
"""

FAULTS = """
from handrail_harness import agent, handoff, tool


def test_whole(handrail):
    run = handrail.send("cleaner", host="db-7").assert_unified()
    run.matches(agent("cleaner", handoff("scout", tool("table_sizes"), times=2), tool("drop_table")), exact=True)
    assert handrail.tier == "process"
    assert run.result(timeout=60) is not None


def test_broken_in_a_worker(handrail, faults):
    dropped = faults.drop_header("traceparent", task="scout")
    run = handrail.send("cleaner", host="db-7")
    for broken in ("one_trace", "one_root", "handoff_received", "consumer_has_handoff"):
        run.waive(broken, reason="the header is dropped on purpose")
    assert [finding.name for finding in run.report.findings] == ["broken_handoff"]
    assert dropped.bites


def test_missing_in_a_worker(handrail, faults):
    faults.worker("ops:app", ["nobody"], hostname="guest@here")
    faults.drop_header("traceparent", task="scout")
    handrail.send("cleaner", host="db-7").assert_unified()


def test_unparsable_in_a_worker(handrail, faults):
    faults.garble_header("traceparent", task="scout")
    handrail.send("cleaner", host="db-7").assert_unified()
"""


@pytest.mark.parametrize("how", ["ours", "stock"])
def test_any_instrumentation(project: Project, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """The app is pointed at the session's Redis, or `memory://` where there is none to start, and asserted."""
    monkeypatch.setenv("SHOP_INSTRUMENTATION", how)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    pytester = project("shop", (STOCK if how == "stock" else NO_REDIS) + SHOP, "handrail_app = shop:app")
    pytester.runpytest_subprocess("--handrail-tier=thread").assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("tier", "cause"),
    [("thread", "header missing: message *"), ("process", "header missing or unparsable: message *")],
)
def test_a_branch_without_lineage_is_found(
    project: Project, monkeypatch: pytest.MonkeyPatch, tier: str, cause: str
) -> None:
    """The stock instrumentation leaves nothing that leads to a trace torn off: its receipt says so, and no guess.

    It is drawn beside the run, and saved with it.
    """
    monkeypatch.setenv("SHOP_INSTRUMENTATION", "stock-in-workers")
    pytester = project(
        "shop", STOCK + TORN_OFF, f"handrail_app = shop:app\nhandrail_tier = {tier}\nhandrail_patience = 3"
    )
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines([f"*cause: {cause} so its consumer began a trace of its own, *"])
    assert len({line.strip() for line in done.outlines if "cause: " in line}) == 1
    done.stdout.fnmatch_lines(
        ["*torn off: its receipt is in trace *", "*torn off it, trace *", "*shop.receipt*"]
    )
    (saved,) = [line.partition("handrail show ")[2] for line in done.outlines if "run saved; " in line]
    assert len(OTLPFileSource(saved).traces()) == 2


def test_typing_errors_never_pass(project: Project) -> None:
    """A name that cannot occur is refused wherever its absence would pass; a run that has not ended is not asked."""
    pytester = project("shop", TYPING_ERRORS, "handrail_app = shop:app\nhandrail_tier = thread")
    pytester.runpytest_subprocess().assert_outcomes(passed=5)


def test_without_tracing_the_cause_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project that traces nothing fails, and is told what is missing."""
    monkeypatch.setenv("SHOP_INSTRUMENTATION", "none")
    pytester = project("shop", SILENT, "handrail_tier = thread\nhandrail_patience = 1")
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*cause: no tracing: nothing instruments Celery in this process*"])


def test_exporters_lost_at_fork_are_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tier `process` sees what threads cannot show: the documented set-up of the stock parts exports nothing."""
    monkeypatch.setenv("SHOP_INSTRUMENTATION", "stock-at-fork")
    pytester = project(
        "shop", FORKED, "handrail_app = shop:app\nhandrail_tier = process\nhandrail_patience = 2"
    )
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ["*handoff_received*", "*cause: exporter thread lost at fork: message * ran in ForkPoolWorker-*"]
    )


def test_faults_reach_worker_processes(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Tier `process` is what a session gets here by itself; a fault bites in its workers, and its cause is told.

    What a worker of a fault said last is told, too, and no file of the session is left.
    """
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = project("ops", FAULTS, "handrail_app = ops:ops").runpytest_subprocess()
    done.assert_outcomes(passed=2, failed=2)
    causes = [line.partition("cause: ")[2].partition(":")[0] for line in done.outlines if "cause: " in line]
    # Where pytest takes itself to be in CI its summary has the messages once more
    assert list(dict.fromkeys(causes)) == ["header missing", "header unparsable"]
    done.stdout.fnmatch_lines(["*worker guest@here:", "*is running"])
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith("handrail-")}
    assert left == {f"handrail-sessions-{os.getuid()}"}
