"""Stock workers of every pool, and however they are told to stop: which of their calls' spans arrive?

    python -m tests.faults.stops

A prefork worker is set up as the instrumentation's documentation says; other pools, of which it says nothing, when the
app is imported. Default settings: 5 seconds, 512 spans a batch. Prints one JSON document.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..stock.stage import PATIENCE, Stage, stage
from .report import figure
from .workload import lines_of

DEFAULT_DELAY = {"OTEL_BSP_SCHEDULE_DELAY": "5000"}
POOLS = (
    ("prefork", []),
    ("prefork", ["--max-tasks-per-child=1"]),
    ("threads", []),
    ("solo", []),
    ("gevent", []),
)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def wait(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.02)


def of_a_pool(on: Stage, effects: Path, pool: str, arguments: list[str]) -> dict[str, int]:
    """Three tasks of six calls each, and then a warm stop."""
    queue = f"{on.queue}-{effects.name}"
    setup = "documented" if pool == "prefork" else "import"
    running = on.worker(queue, setup=setup, pool=pool, arguments=arguments, concurrency=2, env=DEFAULT_DELAY)
    for _ in range(3):
        on.app.calls_tools.apply_async((6, str(effects)), queue=queue)
    wait(lambda: len(lines_of(effects)) == 18, "work")
    running.stop()
    return found(on, effects)


def of_a_signal(on: Stage, effects: Path, number: int) -> dict[str, int]:
    """A signal in the middle of the work of a prefork worker."""
    queue = f"{on.queue}-{effects.name}"
    running = on.worker(queue, concurrency=2, env=DEFAULT_DELAY)
    for _ in range(2):
        on.app.calls_tools.apply_async((60, str(effects)), queue=queue)
    wait(lambda: len(lines_of(effects)) >= 20, "work")
    os.kill(running.pid, number)
    wait(lambda: not running.running, "the end of the worker")
    return found(on, effects)


def found(on: Stage, effects: Path) -> dict[str, int]:
    """Count the calls that were made, and those of them whose span has not arrived."""
    made = lines_of(effects)
    return {
        "effects": len(made),
        "lost": len(made - {str(span.attributes.get("effect")) for span in on.sink.spans}),
    }


def main() -> int:
    results: dict[str, Any] = {}
    with stage() as on, tempfile.TemporaryDirectory() as base:
        for number, (pool, arguments) in enumerate(POOLS):
            what = " ".join([pool, *arguments])
            results[what] = of_a_pool(on, Path(base) / str(number), pool, arguments)
        for each in SIGNALS:
            results[each.name] = of_a_signal(on, Path(base) / each.name, each)
    print(json.dumps(results))
    for what, result in results.items():
        figure(f"worker {what} stock", **result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
