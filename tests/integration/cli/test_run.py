"""`handrail run` and `handrail worker` with a user's own agents."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from handrail_harness.stack.process import Child

from ...support.model_stub import ModelStub
from .conftest import Cli, environment

pytestmark = pytest.mark.integration
Project = Callable[..., Path]


@pytest.fixture
def env() -> dict[str, str]:
    """Queues of this test's own; the broker in the app's code is none: the embedded one has to be taken."""
    return {"OFFICE_PREFIX": f"cli-{secrets.token_hex(4)}-"}


def test_a_run_of_ones_own(cli: Cli, project: Project, env: dict[str, str]) -> None:
    """A task file is all it takes: Redis, workers and store come with it, and the run is one tree."""
    ended = cli("run", project("office", "manager", name="Ada"), "--json", env=env)
    assert ended.status == 0, ended.stderr
    assert ended.document["outcome"] == {"kind": "Done", "value": "It is 555-0100."}
    assert ended.document["unified"] is True
    assert ended.document["investigation"]["trace_id"] == ended.document["trace_id"]


def test_what_was_run_can_be_looked_at_later(cli: Cli, project: Project, env: dict[str, str]) -> None:
    """The store keeps the trace after the command has ended: traces, check and investigate find it."""
    ended = cli("run", project("office", "clerk", name="Ada"), env=env)
    assert ended.status == 0, ended.stderr
    trace_id = re.search(r"trace ([0-9a-f]{32})", ended.stdout)
    assert trace_id is not None
    (listed,) = cli("traces", "--json").document
    assert listed["trace_id"] == trace_id[1]
    assert cli("check", trace_id[1]).status == 0
    assert "look_up" in cli("investigate", trace_id[1][:8]).stdout


def test_workers_of_a_system(project: Project, env: dict[str, str], data_dir: Path, redis_url: str) -> None:
    """`handrail worker` serves every agent until SIGINT, says who prints what, and then exits with 0."""
    folder = project("office", "manager").parent
    environ = environment(data_dir, redis_url) | env | {"OFFICE_BROKER": redis_url}
    command = [sys.executable, "-m", "handrail_harness.cli", "worker", "ops:ops"]
    workers = Child(command, log_path=folder / "out", env=environ, cwd=folder)
    try:
        workers.wait_until(lambda: "3 workers are ready" in workers.log(), what="handrail worker", timeout=60)
        code = "from ops import ops; print(ops.send('manager', name='Ada').result(timeout=60))"
        sent = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env=environ | {"OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert "Done(value='It is 555-0100.')" in sent.stdout, sent.stderr
        workers.wait_until(
            lambda: re.search(r"^clerk +\| .*Task clerk.* succeeded", workers.log(), re.M) is not None,
            what="the clerk's log",
            timeout=60,
        )
        workers.send_signal(signal.SIGINT)
        assert workers.wait(60)
        assert workers.exit_status == 0
    finally:
        workers.close()


def test_a_worker_that_dies_is_said(
    project: Project, env: dict[str, str], data_dir: Path, redis_url: str
) -> None:
    """When one of the workers is killed, the others are stopped and the exit status is not 0."""
    import psutil

    folder = project("office", "manager").parent
    command = [sys.executable, "-m", "handrail_harness.cli", "worker", "ops:ops", "--agent", "clerk"]
    environ = environment(data_dir, redis_url) | env | {"OFFICE_BROKER": redis_url}
    workers = Child(command, log_path=folder / "out", env=environ, cwd=folder)
    try:
        workers.wait_until(lambda: "1 worker is ready" in workers.log(), what="handrail worker", timeout=60)
        celery = min(
            (
                child
                for child in psutil.Process(workers.pid).children(recursive=True)
                if child.cmdline()[1:3] == ["-m", "celery"]
            ),
            key=lambda child: child.create_time(),
        )
        celery.kill()
        assert workers.wait(60)
        assert workers.exit_status == 2
        assert "has ended with status 137" in workers.log()
    finally:
        workers.close()


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ({"mode": "html"}, "check that base_url= is that of its API"),
        ({"mode": "silent"}, "did not answer in time"),
        ({"status": 500}, "answered HTTP 500"),
    ],
)
def test_a_model_that_fails(
    cli: Cli,
    project: Project,
    env: dict[str, str],
    model_stub: ModelStub,
    behaviour: dict[str, object],
    said: str,
) -> None:
    """Garbage, silence or an error of a model ends the run in one clear line; its spans are kept."""
    for name, value in behaviour.items():
        setattr(model_stub, name, value)
    patience = "1" if behaviour.get("mode") == "silent" else "60"
    stub = {"STUB_URL": model_stub.url, "STUB_TIMEOUT": patience}
    ended = cli("run", project("talker", "talker"), "--json", env=env | stub)
    assert ended.status == 1
    assert ended.document["outcome"]["error_type"] == "ModelError"
    assert said in ended.document["outcome"]["message"]
    assert "sk-secret-key" not in ended.stdout + ended.stderr
    assert ended.document["unified"] is True
    assert model_stub.requests


def test_a_tool_that_raises(cli: Cli, project: Project, env: dict[str, str]) -> None:
    """The run fails with the exception's type; its text does not get out; the tree is whole."""
    ended = cli("run", project("office", "unlucky", name="Ada"), env=env)
    assert ended.status == 1
    assert "unlucky failed with ToolFailed: tool 'broken' failed with OSError" in ended.stdout
    assert "private text" not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert "one unified tree" in " ".join(ended.stdout.split())
    logs = re.search(r"the workers' logs are in (\S+)", ended.stderr)
    assert logs is not None
    assert "tool broken failed with OSError" in (Path(logs[1]) / "unlucky.log").read_text()
    shutil.rmtree(logs[1])
