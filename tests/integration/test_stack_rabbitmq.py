"""A RabbitMQ of one's own: nothing of the machine's is used, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from handrail_harness.errors import StackError
from handrail_harness.stack.rabbitmq import RabbitMQServer, answers, find_executable

pytestmark = pytest.mark.integration


def test_it_goes_with_its_owner(tmp_path: Path) -> None:
    """Its owner is killed while it starts: server, port mapper and folder go, and no port is held."""
    try:
        find_executable()
    except StackError as missing:
        pytest.skip(str(missing))
    code = (
        "from handrail_harness.stack import rabbitmq\n"
        "rabbitmq.answers = lambda url: print(*[c.pid for c in (s._child, s._port_mapper)], flush=True)\n"
        "s = rabbitmq.RabbitMQServer()\ns.start()\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert len(pids) == 2
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in pids) or list(tmp_path.iterdir()):
        assert time.monotonic() < deadline, (pids, list(tmp_path.iterdir()))
        time.sleep(0.05)


def test_a_url_that_nobody_answers_or_accepts(rabbitmq_url: str) -> None:
    """No server, a wrong password and no virtual host of that name: each is a plain no."""
    assert answers(rabbitmq_url)
    login, address = rabbitmq_url.rsplit("@", 1)
    assert not answers(f"{login}x@{address}")
    assert not answers(f"{login}@{address}missing")
    assert not answers("amqp://guest:guest@127.0.0.1:1//")


def test_a_setting_that_it_does_not_know() -> None:
    """A line of rabbitmq.conf that is wrong: `StackError` with the server's own words, and nothing left."""
    try:
        server = RabbitMQServer(settings={"no_such_setting": "1"})
    except StackError as missing:
        pytest.skip(str(missing))
    with pytest.raises(StackError, match="rabbitmq-server ended"):
        server.start()
    assert server.pid == 0
