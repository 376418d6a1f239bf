"""Benchmarks are run by hand: here they are only kept from naming what is no longer there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_benchmark_starts(script: Path) -> None:
    """A benchmark imports what it measures, and says how it is used."""
    done = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: "), done.stdout


def test_there_are_benchmarks() -> None:
    """The list above is not empty."""
    assert {"overhead", "spool", "encoder"} <= {script.stem for script in SCRIPTS}
