"""Sessions as a whole: unused, shared by xdist workers, leaking, killed; nothing may stay behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis

from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.workers import Worker
from handrail_harness.testing.databases import CLAIM
from handrail_harness.testing.leftovers import SESSION_VARIABLE

from ...support.processes import alive
from ...support.waiting import wait_for
from .conftest import Project

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.integration

INI = "handrail_app = ops:ops\nhandrail_tier = thread"
UNUSED = """
import os, sys


def test_nothing_has_come_along():
    heavy = {"celery", "kombu", "redis", "opentelemetry", "rich", "httpx", "psutil", "grpc", "testcontainers"}
    assert "handrail_harness.plugin" in sys.modules
    assert not heavy & set(sys.modules)
    assert not [name for name in os.environ if name.startswith(("OTEL_", "HANDRAIL_"))]
"""
SHARED = """
import pytest


@pytest.mark.parametrize("number", range(4))
def test_each_worker_meets_its_own_messages_only(handrail, number):
    run = handrail.send("scout", host=str(number), db="orders").assert_unified()
    assert handrail.broker is None
    with open("seen.txt", "a") as seen:
        seen.write(handrail.redis_url + "\\n")
"""
LEAKING = """
import subprocess, sys


def test_leaves_a_process(handrail):
    handrail.send("scout", host="a", db="b").assert_unified()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], env=handrail.environ())
    print("pid", child.pid)
    child.returncode = 0
"""
KILLED = """
import subprocess, sys, time
import ops


def test_is_killed(handrail):
    handrail.send("scout", host="a", db="b").assert_unified()
    ops.app.send_task("nobody.takes.this", queue="left-behind")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], env=handrail.environ())
    print("ready", child.pid, handrail.id, handrail.redis_url, flush=True)
    time.sleep(300)
"""
UP_ALREADY = """
def test_against_what_is_up(handrail):
    run = handrail.send("cleaner", host="db-7").assert_unified()
    run.handoffs("scout").times(2)
    assert handrail.tier == "external"
"""


@pytest.fixture
def own_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own, so that ledger and shared folders are its own, too."""
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_unused_costs_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that has the plugin and does not use it imports nothing for it and has its environment as it was."""
    for name in [name for name in os.environ if name.startswith(("OTEL_", "HANDRAIL_"))]:
        monkeypatch.delenv(name)
    project("shop", UNUSED).runpytest_subprocess("-p", "no:xdist").assert_outcomes(passed=1)


def test_xdist_shares_one_stack(project: Project, own_temp: Path) -> None:
    """Two xdist workers use one Redis, a database each; after the session its keeper, server and folder are gone."""
    pytester = project("ops", SHARED, INI)
    pytester.runpytest_subprocess("-n", "2", "--dist=each").assert_outcomes(passed=8)
    urls = set((pytester.path / "seen.txt").read_text(encoding="utf-8").split())
    assert len(urls) == 2, "a database for each"
    assert len({url.rpartition("/")[0] for url in urls}) == 1, "of one server"
    (server,) = {int(url.rpartition("/")[0].rpartition(":")[2]) for url in urls}
    assert not [
        one
        for one in psutil.net_connections("tcp")
        if one.laddr and one.laddr.port == server and one.status == "LISTEN"
    ]
    assert left_in(own_temp) == []


def test_a_leak_fails_the_session(project: Project, own_temp: Path) -> None:
    """A process that a test leaves on the stack is an error at the session's end, by number and command."""
    done = project("ops", LEAKING, INI).runpytest_subprocess("-s")
    pid = int(next(line for line in done.outlines if "pid " in line).rpartition(" ")[2])
    try:
        done.assert_outcomes(passed=1, errors=1)
        done.stdout.fnmatch_lines([f"*StackError: the session left behind: process {pid} (*"])
    finally:
        os.kill(pid, signal.SIGKILL)
    assert left_in(own_temp) == []


@pytest.fixture
def killed(
    project: Project, own_temp: Path, stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """A session on a Redis of somebody else's that was killed in the middle of a test; what it printed."""
    monkeypatch.setenv("HANDRAIL_REDIS_URL", stack.redis_url)
    pytester = project("ops", KILLED, INI)
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s"], cwd=pytester.path, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        words = next(line for line in session.stdout if "ready" in line).split()
        session.kill()
    return words[words.index("ready") + 1 :]


def test_the_sweeper_clears_up_after_a_kill(killed: list[str], own_temp: Path) -> None:
    """`handrail sweep` ends processes and empties the database of a killed session, and touches nothing else."""
    pid, session, url = int(killed[0]), killed[1], killed[2]
    client = redis.Redis.from_url(url, decode_responses=True)
    assert client.get(CLAIM) == session
    assert client.llen("left-behind") == 1
    assert psutil.Process(pid).environ()[SESSION_VARIABLE] == session
    first = sweep()
    assert f"ended: process {pid} of session {session}" in first
    assert "emptied: redis://" in first
    assert client.dbsize() == 0
    client.close()
    wait_for(lambda: not alive(pid))
    assert "nothing to sweep" in sweep()
    assert left_in(own_temp) == []


def test_tier_external(
    project: Project, stack: EmbeddedStack, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis, workers and store that are up already are used as they are, and left as they were."""
    pytester = project("ops", UP_ALREADY, "handrail_app = ops:ops")
    worker("ops:app", ["cleaner", "scout"], cwd=pytester.path, env=stack.environ())
    for name, value in stack.environ().items():
        monkeypatch.setenv(name, value)
    done = pytester.runpytest_subprocess("--handrail-tier=external", "--handrail-source=store")
    done.assert_outcomes(passed=1)


def sweep() -> str:
    command = [str(Path(sys.executable).with_name("handrail")), "sweep"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def left_in(folder: Path) -> list[str]:
    """What sessions left in a temporary folder, pytest's own apart and the ledger's empty folder."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if "pytest-of-" not in str(path) and not path.name.startswith("handrail-sessions-")
    ]


REFUSED = """
import pytest


@pytest.fixture
def from_a_fixture(handrail):
    return handrail.send("scott", host="a", db="b")


def test_first(handrail):
    handrail.send("scott", host="a", db="b")


def test_second(from_a_fixture):
    pass
"""


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--handrail-tier=containers"], "StackError: no Docker daemon answers at tcp://127.0.0.1:1"),
        (["--handrail-tier=external"], "StackError: tier external needs HANDRAIL_REDIS_URL"),
        (["-o", "handrail_patience=soon"], "StackError: handrail_patience = soon: give how many seconds"),
        (["--handrail-tier=thread"], "there is no agent 'scott'; did you mean scout?"),
    ],
    ids=["no daemon", "no Redis", "no number", "no agent"],
)
def test_what_is_refused_is_told_in_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], told: str
) -> None:
    """Neither our frames nor those of other packages are shown, only the tests' own, and nothing is left to sweep."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    done = project("ops", REFUSED, "handrail_app = ops:ops").runpytest_subprocess(*options)
    shown = [line for line in done.outlines if line.startswith("E  ")]
    assert len(shown) == 2, done.outlines
    assert all(told in line for line in shown)
    assert "handrail_harness/" not in done.stdout.str()
    assert len(done.outlines) < 50
    assert list(tmp_path.glob("handrail-sessions-*/*")) == []


def test_full_trace_shows_where(project: Project) -> None:
    """Who looks for a fault of ours gets every frame."""
    done = project("ops", REFUSED).runpytest_subprocess("--handrail-tier=external", "--full-trace")
    done.stdout.fnmatch_lines(
        ["*handrail_harness/testing/session.py*", "*tier external needs HANDRAIL_REDIS_URL*"]
    )
