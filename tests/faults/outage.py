"""A destination that is down for minutes while calls go on, and comes back.

    python -m tests.faults.outage handrail --seconds 600 --rate 200
    python -m tests.faults.outage stock --seconds 600 --rate 200

The process that makes the calls and `handrail forward` are processes of their own, so that their memory is theirs.
Prints one JSON document; sizes in bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handrail_harness.faults import FaultProxy

from .arrivals import Arrived, Keeper, arrived
from .processes import peak_memory
from .report import figure
from .systems import SYSTEMS
from .workload import line_in, lines_of

ROOT = Path(__file__).resolve().parents[2]
SHARE = 0.1
"""How long, relative to the outage, calls are made before and after it."""
PATIENCE = 60.0
"""Seconds without a new arrival after which nothing more is expected: twice the longest back-off."""


def write(system_name: str, folder: Path, endpoint: str, seconds: float, rate: float) -> None:
    """In a process of its own: make calls for `seconds`, end in good order, say so, and wait to be ended."""
    system = SYSTEMS[system_name]()
    call = system.begin(folder, endpoint)
    effect = line_in(folder / "effects")
    began = due = time.monotonic()
    while due < began + seconds:
        call(effect)
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
    system.end()
    (folder / "ended").touch()
    signal.pause()


@contextlib.contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module in a process; it is killed in the end."""
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def outage(system: str, seconds: float, rate: float) -> dict[str, Any]:
    """Have a destination down for `seconds`; return what was lost, and what memory it took."""
    with (
        tempfile.TemporaryDirectory() as name,
        Keeper(Path(name) / "arrived") as keeper,
        FaultProxy(keeper.endpoint) as proxy,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        around = SHARE * seconds
        numbers = [str(seconds + 2 * around), str(rate)]
        writer = stack.enter_context(
            running("tests.faults.outage", "write", system, str(folder), proxy.url, *numbers)
        )
        watched = {"writer": writer.pid}
        while not lines_of(folder / "effects"):
            _still_there(writer)
        if system == "handrail":
            command = ("handrail_harness.cli", "forward", str(folder / "spool"), "--to", proxy.url)
            watched["forwarder"] = stack.enter_context(running(*command)).pid
        began = time.monotonic()
        while time.monotonic() < began + around or not arrived(folder / "arrived").spans:
            _still_there(writer)
        before = {who: peak_memory(pid) for who, pid in watched.items()}
        proxy.down()
        time.sleep(seconds)
        during = {who: peak_memory(pid) for who, pid in watched.items()}
        proxy.heal()
        while not (folder / "ended").exists():
            _still_there(writer)
        effects = lines_of(folder / "effects")
        found = _settled(folder / "arrived", effects, stock=system == "stock")
        return {
            "system": system,
            "seconds": seconds,
            "rate": rate,
            "effects": len(effects),
            "lost": len(effects - found.spans),
            "decisions_lost": len(effects - found.decided),
            "twice": found.twice,
            **{f"{who}_memory": size for who, size in before.items()},
            **{f"{who}_growth": during[who] - before[who] for who in watched},
            "spool_bytes": sum(path.stat().st_size for path in folder.glob("spool/*.seg")),
        }


def _still_there(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, "the process that makes the calls has ended early"
    time.sleep(0.05)


def _settled(path: Path, effects: set[str], *, stock: bool) -> Arrived:
    """Return what has arrived when everything has, or when nothing more comes."""
    size, last = -1, time.monotonic()
    while time.monotonic() - last < PATIENCE:
        if path.stat().st_size != size:
            size, last = path.stat().st_size, time.monotonic()
            found = arrived(path)
            if effects <= (found.spans if stock else found.spans & found.decided):
                break
        time.sleep(0.1)
    return arrived(path)


def main() -> int:
    if sys.argv[1] == "write":
        system, folder, endpoint, seconds, rate = sys.argv[2:]
        write(system, Path(folder), endpoint, float(seconds), float(rate))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=sorted(SYSTEMS))
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rate", type=float, default=200.0)
    options = parser.parse_args()
    result = outage(options.system, options.seconds, options.rate)
    print(json.dumps(result))
    if options.system == "stock":
        figure("outage stock", **result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
