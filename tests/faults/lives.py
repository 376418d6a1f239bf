"""Processes that make calls at a steady pace and are killed at random instants; what arrives at a destination?

    python -m tests.faults.lives handrail --lives 100 --seconds 10
    python -m tests.faults.lives stock --lives 100 --seconds 10

The same campaign for both, through to the destination. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .arrivals import arrived, destination
from .processes import fork, kill, wait_gone
from .report import figure
from .systems import SYSTEMS, System
from .workload import line_in, lines_of

SIDE_BY_SIDE = 10


def live(system: System, folder: Path, endpoint: str, rate: float) -> None:
    """Make `rate` calls a second until killed."""
    call = system.begin(folder, endpoint)
    effect = line_in(folder / "effects")
    due = time.monotonic()
    while True:
        call(effect)
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


def _first_call(folder: Path) -> float:
    """Return when a process has begun to make calls: what it takes to get there is not part of its life."""
    while not lines_of(folder / "effects"):
        time.sleep(0.005)
    return time.monotonic()


def lives(system: System, count: int, seconds: float, rate: float, seed: int) -> dict[str, Any]:
    """Kill `count` processes, each at a random instant within `seconds` of its first call."""
    chance = random.Random(seed)
    effects: set[str] = set()
    last: set[str] = set()
    with tempfile.TemporaryDirectory() as base, destination(Path(base) / "arrived") as endpoint:
        for first in range(0, count, SIDE_BY_SIDE):
            folders = [Path(base) / str(number) for number in range(first, min(count, first + SIDE_BY_SIDE))]
            victims = []
            for folder in folders:
                folder.mkdir()
                victims.append(fork(lambda folder=folder: live(system, folder, endpoint, rate)))  # type: ignore[misc]
            ends = [
                (_first_call(folder) + chance.uniform(0.0, seconds), pid)
                for folder, pid in zip(folders, victims, strict=True)
            ]
            for end, pid in sorted(ends):
                time.sleep(max(0.0, end - time.monotonic()))
                kill([pid])
                wait_gone([pid])
            for folder in folders:
                system.settle(folder, endpoint)
                effects |= lines_of(folder / "effects")
                if (folder / "effects").exists():
                    last.update((folder / "effects").read_text().split()[-1:])
        found = arrived(Path(base) / "arrived")
    return {
        "system": system.name,
        "lives": count,
        "seed": seed,
        "seconds": seconds,
        "rate": rate,
        "effects": len(effects),
        "lost": len(effects - found.spans),
        "last_calls": len(last),
        "last_calls_lost": len(last - found.spans),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=sorted(SYSTEMS))
    parser.add_argument("--lives", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    system = SYSTEMS[options.system]()
    result = lives(system, options.lives, options.seconds, options.rate, options.seed)
    print(json.dumps(result))
    if options.system == "stock":
        figure("lives stock", **result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
