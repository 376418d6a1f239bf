"""How testers write runs, queries and shapes, for the type checkers: mypy and pyright accept every line."""

from __future__ import annotations

from typing import Any, assert_type

from handrail_harness import Shape, agent, handoff, task, tool
from handrail_harness.effects import Effect
from handrail_harness.rules import Report
from handrail_harness.shapes.decisions import Decision
from handrail_harness.shapes.selection import Selection, StepSelection
from handrail_harness.shapes.steps import Step
from handrail_harness.testing import Golden, Handrail, Run


def test_agents(handrail: Handrail, golden: Golden) -> None:
    """A run of agents."""
    run = handrail.send("cleaner", host="db-7")
    assert_type(run, Run)
    assert_type(run.assert_unified(), Run)
    shape = agent("cleaner", handoff("scout", tool("table_sizes"), times=2, in_order=True), exact=True)
    assert_type(shape, Shape)
    assert_type(run.matches(shape, task("shop.charge", attempts=1), exact=False), bool)
    assert_type(run.agents("cleaner").delegated_to("scout").times(2)[0], Step)
    assert_type(run.tools(), StepSelection)
    assert_type(run.tools("drop_table").where(disposition="denied").only().risk, str)
    assert_type(run.decisions("drop_table"), Selection[Decision])
    assert_type(run.effects("drop_table").only(), Effect)
    assert_type(run.tools("a").before(run.tools("b")), bool)
    assert_type(run.waive("one_trace", reason="a bridge"), Run)
    assert_type(run.report, Report)
    golden(run, in_order=True)


def test_tasks(handrail: Handrail) -> None:
    """Runs of any Celery task."""
    with handrail.run() as run:
        pass
    assert_type(run, Run)
    assert_type(handrail.run(lambda: 5).returned, Any)
