"""Tier `containers` of the pytest plugin: a project whose runs go through a Redis and a Jaeger in containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from handrail_harness.testing.leftovers import containers_of

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.containers, pytest.mark.integration]

PROJECTS = Path(__file__).parents[1] / "integration" / "plugin" / "projects"
RUNS = """
from testcontainers.core.labels import SESSION_ID

from handrail_harness.testing.leftovers import containers_of
from handrail_harness import agent, handoff, tool


def test_in_containers(handrail):
    run = handrail.send("cleaner", host="db-7").assert_unified()
    run.matches(agent("cleaner", handoff("scout", tool("table_sizes"), times=2), tool("drop_table")), exact=True)
    assert handrail.tier == "containers"
    assert handrail.source.name.startswith("jaeger:")
    assert len(containers_of(SESSION_ID)) == 2
    print("session", SESSION_ID)


def test_restarted_and_frozen(handrail, faults):
    before = handrail.redis_url
    faults.restart_broker()
    with faults.pause_broker():
        pass
    assert handrail.redis_url == before
    handrail.send("cleaner", host="db-7").assert_unified()
"""


def test_a_project_on_containers(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are read back from Jaeger, its Redis can be restarted and frozen, and the session leaves no container."""
    monkeypatch.delenv("HANDRAIL_REDIS_URL", raising=False)
    pytester.makeini(
        "[pytest]\naddopts = -p no:hypothesispytest\nhandrail_app = ops:ops\n"
        "handrail_tier = containers\nhandrail_patience = 30"
    )
    pytester.makepyfile(ops=(PROJECTS / "ops.py").read_text(encoding="utf-8"))
    pytester.makepyfile(test_runs=RUNS)
    done = pytester.runpytest_subprocess("-s", "--durations=0")
    done.assert_outcomes(passed=2)
    label = next(line for line in done.outlines if "session " in line).split()[-1]
    assert containers_of(label) == []
