"""Celery projects as others write them: routes of every kind, priorities, replaced tasks, results nobody fetches."""

from __future__ import annotations

import os

import pytest

from .conftest import Project

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.integration

INI = "handrail_app = depot:app\nhandrail_tier = thread\nhandrail_patience = 4"
ROUTED = """
import depot
from handrail_harness import handoff, task


def test_routes(handrail):
    run = handrail.run(lambda: depot.ship_all.delay(5))
    run.matches(task("depot.ship_all", handoff("depot.audit")), exact=True)


def test_replaced(handrail):
    run = handrail.run(lambda: depot.swap.delay(5))
    assert run.result() == 5
    run.matches(task("depot.swap", handoff("depot.audit", attempts=1), attempts=1), exact=True)
"""
NEVER_TAKEN = """
import depot


def test_nobody_takes_it(handrail):
    handrail.run(lambda: depot.weigh.apply_async((5,), priority=6))
"""
ELSEWHERE = """
import depot


def test_by_a_worker_that_ends(handrail):
    with handrail.worker("depot:app", ["size-5"]):
        handrail.run(lambda: depot.weigh.delay(5)).assert_unified()


def test_by_the_sessions_worker(handrail):
    handrail.run(lambda: depot.audit.delay(5)).assert_unified()


def test_by_a_worker_of_a_fault(handrail, faults):
    with faults.worker("depot:app", ["size-5"]):
        run = handrail.run(lambda: depot.weigh.delay(5))
        run.assert_unified()
        assert run.result() == 5
"""
BESIDE = """
import depot


def test_the_sessions_worker_first(handrail):
    handrail.run(lambda: depot.audit.delay(5)).assert_unified()


def test_every_time(handrail, faults):
    lost = faults.uninstrument("depot:app", ["audits"])
    for _ in range(4):
        run = handrail.run(lambda: depot.audit.delay(5))
        run.waive("handoff_received", reason="nothing traces there")
        assert run.result() == 5
    assert lost.log().count("] received") == 4
    lost.stop()
    handrail.run(lambda: depot.audit.delay(5)).assert_unified()


def test_the_sessions_worker_again(handrail):
    handrail.run(lambda: depot.audit.delay(5)).assert_unified()
"""
HELD = """
import depot


def test_held(handrail, faults):
    with faults.hold("audits") as held:
        run = handrail.run(lambda: depot.audit.delay(5))
        (message,) = held.wait(1, timeout=5)
        held.duplicate(message)
    assert run.tasks("depot.audit").only().attempts == 2
"""
NEVER_FETCHED = """
import depot


def test_fails_with_a_result_at_hand(handrail):
    run = handrail.run(lambda: depot.audit.delay(5))
    assert not run.returned


def test_passes(handrail):
    handrail.run(lambda: depot.audit.delay(5))
"""


def test_every_kind_of_route_is_consumed(project: Project) -> None:
    """Queues that pairs, functions and priorities lead to are read; a task in another's place is a step of its own."""
    project("depot", ROUTED, INI).runpytest_subprocess().assert_outcomes(passed=2)


def test_what_waits_with_a_priority_was_never_taken(project: Project) -> None:
    """The cause is told for messages with a priority as for others, and their queue by its name."""
    done = project("depot", NEVER_TAKEN, INI).runpytest_subprocess()
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ["*cause: never taken: queue size-5 still holds 1 message*", "*size-5 priority 6 (1)*"]
    )


def test_a_result_that_nobody_fetched_asks_nobody(project: Project) -> None:
    """A failed test refers to its results until the end; they do not look for a server that was stopped by then."""
    done = project("depot", NEVER_FETCHED, INI).runpytest_subprocess()
    done.assert_outcomes(passed=1, failed=1)
    assert "Retry limit exceeded" not in done.stdout.str() + done.stderr.str()


def test_a_message_is_held_before_the_first_run(project: Project) -> None:
    """The session's worker is there to be asked when a queue is held, also where nothing has been run yet."""
    project("depot", HELD, INI).runpytest_subprocess().assert_outcomes(passed=1)


def test_a_worker_of_the_test_has_its_queues_to_itself(project: Project) -> None:
    """The session's worker reads all queues but those of a fault's worker, and these again in the next test."""
    project("depot", BESIDE, INI.replace("thread", "process")).runpytest_subprocess().assert_outcomes(
        passed=3
    )


def test_workers_import_what_tests_import(project: Project) -> None:
    """Where pytest's `pythonpath` leads to the application, workers find it, too; a block around one stops it.

    The test behind it is served by another one.
    """
    pytester = project("depot", ELSEWHERE)
    pytester.makeini("")
    tests = pytester.mkdir("tests")
    (tests / "pytest.ini").write_text(
        "[pytest]\nhandrail_app = depot:app\nhandrail_tier = process\npythonpath = ..\n", encoding="utf-8"
    )
    (pytester.path / "test_runs.py").rename(tests / "test_runs.py")
    os.chdir(tests)
    pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:anyio").assert_outcomes(passed=3)
