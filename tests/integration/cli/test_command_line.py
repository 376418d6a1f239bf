"""The command line itself: what it proposes, what it completes, what it loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
