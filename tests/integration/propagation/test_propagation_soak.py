"""Nothing of a task is left when it is over, however it ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[3] / "benchmarks" / "soak.py"


def test_no_state_is_left_after_mixed_tasks() -> None:
    """Tasks that succeed, fail, are retried, ignored, rejected, revoked, expired, unknown leave no object behind.

    The long form is `python benchmarks/soak.py`; memory has more room in here, since a short run is all warm-up.
    """
    done = subprocess.run(
        [sys.executable, str(SOAK), "--tasks", "1000", "--growth", "48"],
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    traced = [line.split() for line in done.stdout.splitlines() if line.startswith("traced")]
    assert [row[-5:-3] for row in traced] == [["0", "0"]] * 3, done.stdout
