"""Tier `containers` of the pytest plugin: a project whose runs go through a Redis and a Jaeger in containers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from handrail_harness.testing.leftovers import containers_of

from ..support.processes import alive
from ..support.waiting import wait_for
from .support import handrail

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.containers, pytest.mark.integration]

PROJECTS = Path(__file__).parents[1] / "integration" / "plugin" / "projects"
Project = Callable[[str], pytest.Pytester]
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
# The containers of a session of several processes are its keeper's.
SHARED = """
import json
from handrail_harness.testing.leftovers import entries


def test_each_worker_meets_its_own_messages_only(handrail):
    handrail.send("scout", host="db-7", db="orders").assert_unified()
    assert handrail.broker is None
    (label,) = [label for entry in entries() for label in entry.containers if entry.session.startswith("keeper-")]
    with open("seen.txt", "a") as seen:
        seen.write(json.dumps([handrail.redis_url, handrail.source.name, label]) + "\\n")
"""
KILLED = """
import os, subprocess, sys, time
from handrail_harness.testing.leftovers import entries


def test_is_killed(handrail):
    command = [sys.executable, "-c", "import time; time.sleep(300)"]
    child = subprocess.Popen(command, env=handrail.environ(), start_new_session=True)
    containers = [(entry.pid, label) for entry in entries() for label in entry.containers if entry.alive()]
    ((holder, label),) = [one for one in containers if one[0] != os.getpid() or len(containers) == 1]
    with open("ready.new", "w") as file:
        file.write(f"{child.pid} {holder} {label}")
    os.rename("ready.new", "ready")
    time.sleep(300)
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    """Make a project of agents in tier `containers` with these tests; its ledger of sessions is its own."""
    monkeypatch.delenv("HANDRAIL_REDIS_URL", raising=False)
    # Else testcontainers' own reaper, where it can be had, may be quicker than what is tested here.
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    pytester.makeini(
        "[pytest]\naddopts = -p no:hypothesispytest\nhandrail_app = ops:ops\n"
        "handrail_tier = containers\nhandrail_patience = 30"
    )
    pytester.makepyfile(ops=(PROJECTS / "ops.py").read_text(encoding="utf-8"))

    def make(tests: str) -> pytest.Pytester:
        pytester.makepyfile(test_runs=tests)
        return pytester

    return make


def test_a_project_on_containers(project: Project) -> None:
    """Runs are read back from Jaeger, its Redis can be restarted and frozen, and the session leaves no container."""
    done = project(RUNS).runpytest_subprocess("-s", "--durations=0")
    done.assert_outcomes(passed=2)
    label = next(line for line in done.outlines if "session " in line).split()[-1]
    assert containers_of(label) == []


def test_xdist_shares_the_containers(project: Project, tmp_path: Path) -> None:
    """Two xdist workers use one Redis, a database each, and one Jaeger; with the last of them both are gone."""
    pytester = project(SHARED)
    pytester.runpytest_subprocess("-n", "2", "--dist=each").assert_outcomes(passed=2)
    seen = [
        json.loads(line) for line in (pytester.path / "seen.txt").read_text(encoding="utf-8").splitlines()
    ]
    databases, sources, labels = (set(column) for column in zip(*seen, strict=True))
    assert len(databases) == 2, "a database for each"
    assert len({url.rpartition("/")[0] for url in databases}) == 1, "of one server"
    assert len(sources) == len(labels) == 1
    assert containers_of(labels.pop()) == []
    assert left_in(tmp_path / "t") == []


def killed(pytester: pytest.Pytester, *arguments: str) -> tuple[int, str]:
    """A session that was killed in a test, with all of its processes but one; return that one's id and its label."""
    ready = pytester.path / "ready"
    command = [sys.executable, "-m", "pytest", *arguments]
    with subprocess.Popen(command, cwd=pytester.path, start_new_session=True) as session:
        wait_for(ready.exists, what="the test that is killed", timeout=60)
        child, holder, label = ready.read_text(encoding="utf-8").split()
        os.kill(int(holder), signal.SIGKILL)
        os.killpg(session.pid, signal.SIGKILL)
    wait_for(lambda: not alive(int(holder)), what="the end of who started the containers")
    return int(child), label


def test_what_a_killed_session_leaves_is_swept(project: Project, tmp_path: Path) -> None:
    """Containers that xdist workers shared, and processes, go with `handrail sweep`, though nobody of it is left."""
    child, label = killed(project(KILLED), "-n", "1")
    names = containers_of(label)
    assert len(names) == 2
    done = handrail("sweep")
    assert done.returncode == 0, done.stderr
    assert {f"removed: container {name}" for name in names} <= set(done.stdout.splitlines())
    assert containers_of(label) == []
    wait_for(lambda: not alive(child), what="the end of the session's process")
    assert left_in(tmp_path / "t") == []


def test_the_next_session_sweeps(project: Project) -> None:
    """A session that begins removes what a killed one left, and says so in its summary."""
    pytester = project(KILLED)
    _, label = killed(pytester)
    names = containers_of(label)
    assert len(names) == 2
    pytester.makepyfile(test_runs="def test_next(handrail):\n    assert handrail.swept")
    done = pytester.runpytest_subprocess("--handrail-tier=thread")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines_random([f"removed: container {name}" for name in names])
    assert containers_of(label) == []


def left_in(folder: Path) -> list[str]:
    """What sessions left in a temporary folder, pytest's own apart and the ledger's empty folder."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if "pytest-of-" not in str(path) and not path.name.startswith("handrail-sessions-")
    ]
