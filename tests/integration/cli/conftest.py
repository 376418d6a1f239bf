"""The command line as a person has it: a process of its own, in a folder of its own, with a store of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ...support.model_stub import ModelStub

APPS = Path(__file__).with_name("apps")
_INHERITED = ("HANDRAIL_", "OTEL_", "CELERY_", "ANTHROPIC_", "OPENAI_")


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left: exit status and both outputs."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.stdout)

    @property
    def complaint(self) -> str:
        """The one line that says what is wrong; progress lines aside."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("handrail: ")]
        assert len(lines) == 1, self.stderr
        assert "Traceback" not in self.stderr + self.stdout
        assert self.stderr.splitlines()[-1] == lines[0]
        return lines[0]


Cli = Callable[..., Ended]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where the commands of one test keep their traces."""
    return tmp_path / "data"


@pytest.fixture
def cli(tmp_path: Path, data_dir: Path, redis_url: str) -> Cli:
    """Run `handrail ARGS...` in an empty folder, on the session's Redis; wait for its end."""

    def run(*args: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Ended:
        place = cwd or tmp_path / "here"
        place.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "handrail_harness.cli", *map(str, args)],
            cwd=place,
            env=environment(data_dir, redis_url) | dict(env or {}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


def environment(data_dir: Path, redis_url: str) -> dict[str, str]:
    """The environment of a person's shell: nothing of ours but the store's folder and the test's Redis."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_INHERITED)}
    data_dir.mkdir(exist_ok=True)
    return clean | {
        "HANDRAIL_DATA_DIR": str(data_dir),
        "HANDRAIL_REDIS_URL": redis_url,
        "NO_COLOR": "1",
        "TMPDIR": str(data_dir),  # logs of failed runs are kept; after a test they go with its folder
    }


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder with a copy of one of the apps as `ops.py` and a task file; return the task file."""
    folders = iter(range(100))

    def make(app: str, agent: str, **arguments: Any) -> Path:
        folder = tmp_path / f"project-{next(folders)}"
        folder.mkdir()
        shutil.copy(APPS / f"{app}.py", folder / "ops.py")
        task = folder / "task.yaml"
        task.write_text(json.dumps({"agents": "ops:ops", "agent": agent, "arguments": arguments}))
        return task

    return make


@pytest.fixture
def model_stub() -> Iterator[ModelStub]:
    """A local server in the place of a model's API."""
    with ModelStub() as stub:
        yield stub
