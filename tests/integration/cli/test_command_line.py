"""The command line itself: what it proposes, what it completes, what it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handrail_propagation.spool.record import Kind
from handrail_propagation.spool.writer import Writer

from .conftest import Cli

pytestmark = pytest.mark.integration


def test_a_misspelt_command_is_corrected(cli: Cli) -> None:
    """A sub-command that is not there is named with the one that was meant, exit status 2."""
    ended = cli("chek")
    assert ended.status == 2
    assert "No such command 'chek'. Did you mean 'check'?" in ended.stderr


@pytest.mark.parametrize(
    ("words", "proposed"),
    [("handrail sp", ["spool"]), ("handrail spool s", ["status"]), ("handrail check --w", ["--wait"])],
)
def test_the_shell_completes_commands_and_options(cli: Cli, words: str, proposed: list[str]) -> None:
    """Sub-commands, theirs, and their options are completed in a shell."""
    ended = cli(
        env={
            "_HANDRAIL_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
    )
    assert ended.stdout.split() == proposed


def test_a_command_loads_what_it_needs() -> None:
    """`handrail spool` does not import what other sub-commands need, such as agents and their models."""
    script = (
        "import sys; from handrail_harness.cli.app import app\n"
        "try: app(['spool', '--help'])\n"
        "except SystemExit: pass\n"
        "print('loaded:', sorted({'handrail_agents', 'celery', 'handrail_propagation'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert "loaded: ['handrail_propagation']" in ended.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("spool", "status"), ("spool", "status", "--json")])
def test_a_full_disk_behind_the_output_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What cannot be written is said in a line, exit status 2; no traceback, and nothing more at the very end."""
    Writer(tmp_path, b"").append(Kind.LOG, b"a record")
    env = {**os.environ, "HANDRAIL_SPOOL_DIR": str(tmp_path)}
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "handrail_harness.cli", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            env=env,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (2, "handrail: [Errno 28] No space left on device\n")
