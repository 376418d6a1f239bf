"""Tier `thread`: whole sessions of a project that uses the plugin, each in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Project

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.integration

ANSI = re.compile(r"\x1b\[[0-9;]*m")
WHOLE = """
import pytest
from handrail_harness import agent, handoff, tool


def test_it_is_one_tree(handrail):
    run = handrail.send("cleaner", host="db-7")
    run.assert_unified()
    run.matches(
        agent("cleaner", handoff("scout", tool("table_sizes"), times=2), tool("drop_table"), exact=True)
    )
    assert type(run.result()).__name__ == "Waiting"
    assert run.decisions("drop_table").only().context_source == "delegation"
    assert run.effects("drop_table").only().disposition == "awaiting_approval"
    assert run.agents("cleaner").delegated_to("scout").times(2)
    assert run.tools("table_sizes").before(run.tools("drop_table"))
    assert run.path("cleaner", "scout", "table_sizes").times(2)
    run.agents("scout").where(attempts=1).times(2)
    assert handrail.tier == "thread" and run.report.sound


def test_faults(handrail, faults):
    faults.drop_header("traceparent", task="scout")
    run = handrail.send("cleaner", host="db-7")
    for broken in ("one_trace", "one_root", "handoff_received", "consumer_has_handoff"):
        run.waive(broken, reason="the header is dropped on purpose")
    assert [finding.name for finding in run.report.findings] == ["broken_handoff"]


def test_golden(handrail, golden):
    golden(handrail.send("cleaner", host="db-7"))


class TestAgain:
    def test_golden(self, handrail, golden):
        golden(handrail.send("scout", host="db-7", db="orders"))


@pytest.fixture(scope="module")
def shared_run(handrail):
    return handrail.send("scout", host="db-7", db="orders")


@pytest.mark.parametrize("number", [1, 2])
def test_one_run_for_several_tests(shared_run, number):
    assert shared_run.tools("table_sizes").only().risk == "read"
"""
BROKEN = """
import pytest
from celery.signals import before_task_publish
from handrail_harness import agent, tool


@pytest.fixture
def lost_header(handrail):
    value = []

    def lose(sender=None, headers=None, **_):
        if sender == "scout":
            headers.pop("traceparent", None)
            if value:
                headers["traceparent"] = value[0]

    before_task_publish.connect(lose)
    yield value
    before_task_publish.disconnect(lose)


def test_wrong_shape(handrail):
    run = handrail.send("cleaner", host="db-7")
    run.matches(agent("cleaner", tool("drop_table", disposition="denied")))


def test_wrong_name(handrail):
    assert handrail.send("cleaner", host="db-7").tools("drop_tabel")


def test_absent_typo(handrail):
    run = handrail.send("cleaner", host="db-7")
    for wrong in (run.path("cleanr", "scout"), run.agents("cleaner").delegated_to("scuot")):
        with pytest.raises(AssertionError, match="did you mean '(cleaner|scout)'"):
            wrong.absent()
    run.path("scout", "cleaner").absent()
    run.tools("drop_tabel").absent()


def test_not_asserted_at_all(handrail, lost_header):
    handrail.send("cleaner", host="db-7").result()


def test_unparsable(handrail, lost_header):
    lost_header.append("00-garbled")
    handrail.send("cleaner", host="db-7").result()


def test_fault(handrail, faults):
    faults.drop_header(task="scout")
    handrail.send("cleaner", host="db-7").result()


def test_other_reason(handrail):
    handrail.send("cleaner", host="db-7").result()
    assert 1 == 2


def test_waived(handrail, lost_header):
    run = handrail.send("cleaner", host="db-7")
    for name in ("one_trace", "one_root", "handoff_received", "consumer_has_handoff"):
        run.waive(name, reason="the scout is behind a bridge that drops headers")
    run.assert_unified(["one_trace", "one_root", "handoff_received", "consumer_has_handoff"])
    assert run.report.excused


def test_waiver_that_excuses_nothing(handrail):
    handrail.send("cleaner", host="db-7").waive("no_orphans", reason="none")


def test_eager(handrail):
    import ops
    ops.app.conf.task_always_eager = True
    try:
        handrail.send("cleaner", host="db-7")
    finally:
        ops.app.conf.task_always_eager = False


def test_still_works(handrail):
    handrail.send("cleaner", host="db-7").assert_unified()
"""


def test_a_project_of_agents(project: Project) -> None:
    """Runs on threads are asserted, queried, matched; goldens are written, compared, and a change is named."""
    pytester = project("ops", WHOLE, "handrail_app = ops:ops\nhandrail_tier = thread\nfilterwarnings = error")
    pytester.runpytest_subprocess("--update-golden").assert_outcomes(passed=6)
    golden = pytester.path / "goldens" / "test_runs" / "test_golden.txt"
    assert golden.read_text(encoding="utf-8").splitlines() == [
        "agent cleaner",
        "  handoff scout x2",
        "    tool table_sizes  (read, executed)",
        "  tool drop_table  (destructive, awaiting_approval)",
    ]
    of_class = golden.with_name("TestAgain-test_golden.txt")
    assert of_class.read_text(encoding="utf-8").startswith("agent scout\n")
    golden.write_text(
        "agent cleaner\n  handoff scout\n    tool table_sizes  (read, executed)\n"
        "    handoff scout\n      tool table_sizes  (read, executed)\n"
        "  tool drop_table  (destructive, awaiting_approval)\n",
        encoding="utf-8",
    )
    moved = pytester.runpytest_subprocess("-k", "golden or several")
    moved.assert_outcomes(passed=3, failed=1, deselected=2)
    moved.stdout.fnmatch_lines(
        ["*moved: handoff scout and 1 below it, from agent cleaner / handoff scout to agent cleaner*"]
    )


def test_failures_are_drawn_with_their_cause(project: Project) -> None:
    """Every failed run shows tree, broken spot and cause, in bounds, and is saved so that it can be drawn again."""
    pytester = project("ops", BROKEN, "handrail_app = ops:ops\nhandrail_tier = thread")
    done = pytester.runpytest_subprocess("--color=yes", "--junitxml=out/report.xml")
    coloured = done.stdout.str()
    text = ANSI.sub("", coloured)
    done.assert_outcomes(passed=2, failed=9)
    parts = dict(
        re.findall(r"_{3,} (test_\w+) _{3,}\n(.*?)(?=\n_{3,} test_|\n=+ short test summary)", text, re.DOTALL)
    )

    assert (
        "disposition of tool drop_table is 'awaiting_approval', wanted 'denied'" in parts["test_wrong_shape"]
    )
    assert re.search(r"✗ +└─ drop_table", parts["test_wrong_shape"]), parts["test_wrong_shape"]
    assert "did you mean 'drop_table'?" in parts["test_wrong_name"]
    assert "the application declares no tool 'drop_tabel'" in parts["test_absent_typo"]
    automatic = parts["test_not_asserted_at_all"]
    assert "not one unified tree: one_trace" in automatic
    assert re.search(
        r"cause: header missing: message [-0-9a-f]+ in queue scout arrived without traceparent", automatic
    )
    assert re.search(r"✗ .*scout", automatic)
    assert "cause: header unparsable: traceparent of message" in parts["test_unparsable"]
    assert "'00-garbled'" in parts["test_unparsable"]
    assert re.search(
        r"injected: drop_header \(producer\), traceparent of messages of task scout: bit 1 time",
        parts["test_fault"],
    )
    assert "drop_table  destructive" in parts["test_other_reason"], (
        "the run of a test that failed otherwise is drawn"
    )
    assert "unused waiver of no_orphans" in parts["test_waiver_that_excuses_nothing"]
    assert "task_always_eager is on" in parts["test_eager"]
    assert max(part.count("\n") for part in parts.values()) < 110
    assert re.search(r"\x1b\[[0-9;]*31m.*✗", coloured), "colours, where the terminal has them"
    assert "\x1b" not in (pytester.path / "out" / "report.xml").read_text(encoding="utf-8")

    saved = sorted((pytester.path / "out" / "handrail-runs").glob("*.json"))
    assert len(saved) == 8
    (broken,) = [path for path in saved if "not_asserted" in path.name]
    again = show(broken)
    assert "not one unified tree" in " ".join(again.split())
    assert "handoff_received" in again
    assert "\x1b" not in again


def show(path: Path) -> str:
    """Draw a saved run with the command that failures name."""
    command = [str(Path(sys.executable).with_name("handrail")), "show", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
