"""What is done to workers: started with a fault in them, or killed at a moment that the test chooses."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from handrail_harness.errors import FaultDidNotBite
from handrail_harness.faults.injected import Bites
from handrail_harness.faults.rules import FOLDER_VARIABLE, OWN_VARIABLE, Kind, Rule
from handrail_harness.stack.workers import Worker

_INSIDE = "handrail_harness.faults.inside"
_POLL = 0.02  # seconds

EXPORTS_NOTHING: Final = {
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
}
VERBS: Final[dict[Kind, str]] = {
    "recycled": "recycle_children",
    "uninstrumented": "uninstrument",
    "clock": "offset_clock",
}


def worker_options(folder: Path) -> dict[str, Any]:
    """Return `env` and `arguments` for a `Worker` in which the faults of `folder` act."""
    return {"env": {FOLDER_VARIABLE: str(folder)}, "arguments": ["-I", _INSIDE]}


def about(rule: Rule) -> dict[str, str]:
    """Return the variable that tells a worker of a rule about it alone."""
    return {OWN_VARIABLE: rule.id}


def kill_children(worker: Worker, when: Callable[[], bool], timeout: float) -> Bites:
    """SIGKILL a worker's pool children once `when()` is true; raises `FaultDidNotBite`."""
    _await(when, f"kill_child (worker), worker {worker.hostname}", timeout)
    bites = Bites()
    for pid in worker.kill_pool():
        bites.note(killed=pid)
    return bites


def kill(worker: Worker, when: Callable[[], bool], timeout: float) -> Bites:
    """SIGKILL a worker once `when()` is true; raises `FaultDidNotBite`."""
    _await(when, f"kill_worker (worker), worker {worker.hostname}", timeout)
    bites = Bites()
    bites.note(killed=worker.pid)
    worker.kill()
    return bites


def _await(when: Callable[[], bool], what: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not when():
        if time.monotonic() >= deadline:
            raise FaultDidNotBite(f"{what}: the moment to kill did not come within {timeout:g} s; see `when`")
        time.sleep(_POLL)
