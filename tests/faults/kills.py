"""SIGKILLs, by the thousand: a parent that has imported everything forks what is then killed.

    python -m tests.faults.kills random --rounds 400      # 1,000 kills: writers, pool children, worker mains
    python -m tests.faults.kills steps                    # a writer, at every call that it makes to the disk

Prints one JSON document; exit status 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from handrail_propagation.spool.process import Spool

from .deadly import MOMENTS, Deadly
from .processes import Progress, fork, kill, memory_folder, wait_gone
from .workload import Found, call, find, line_in, lines_of, look, prepare, record_into

SEGMENT_SIZE = 8192  # several rotations within a round


def work(spool: Spool, effects: Path, progress: Progress, slot: int, calls: int) -> None:
    """Make calls until killed, or until there are `calls`."""
    effect = line_in(effects)
    for number in range(calls):
        if number % 3 == 2:
            look()
        else:
            call(effect)
        writer = spool.writer()
        progress.note(slot, writer.id, writer.recorded)


def alone(folder: Path, progress: Progress) -> list[int]:
    """A single writer."""

    def main() -> None:
        spool = record_into(folder / "spool", segment_size=SEGMENT_SIZE)
        work(spool, folder / "effects", progress, 0, 10_000)

    return [fork(main)]


def worker(folder: Path, progress: Progress) -> list[int]:
    """A worker: a main process that has written itself and forks two pool children; all three go on writing."""
    reading, writing = os.pipe()

    def main() -> None:
        spool = record_into(folder / "spool", segment_size=SEGMENT_SIZE)
        look()
        children = [fork(lambda slot=slot: child(spool, slot)) for slot in (1, 2)]  # type: ignore[misc]
        os.write(writing, struct.pack("<II", *children))
        work(spool, folder / "effects", progress, 0, 10_000)

    def child(spool: Spool, slot: int) -> None:
        work(spool, folder / "effects", progress, slot, 10_000)

    pid = fork(main)
    children = struct.unpack("<II", os.read(reading, 8))
    os.close(reading)
    os.close(writing)
    return [pid, *children]


def verdict(folder: Path, progress: Progress) -> tuple[Found, dict[str, int]]:
    """Compare what is on record with what had happened."""
    found = find(folder / "spool") if (folder / "spool").exists() else Found(exact=True)
    effects = lines_of(folder / "effects")
    short = [writer for writer, number in progress.seen().items() if found.recorded.get(writer, 0) < number]
    return found, {
        "effects": len(effects),
        "effects_without_record": len(effects - found.safe),
        "acknowledged_lost": len(short),
        "quarantined": found.quarantined,
        "inexact": int(not found.exact),
    }


def wait_at_work(progress: Progress, slots: int) -> None:
    """Return when that many processes have recorded something."""
    while len(progress.seen()) < slots:
        time.sleep(0.001)


def random_kills(rounds: int, seed: int) -> dict[str, Any]:
    """Kill at random instants; the victims take turns: a writer, a pool child, the main process, all at once."""
    chance = random.Random(seed)
    totals: Counter[str] = Counter()
    victims: Counter[str] = Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as base:
        prepare(Path(base))
        for number in range(rounds):
            folder = Path(base) / str(number)
            folder.mkdir()
            progress = Progress(3)
            victim = ("writer", "pool child", "worker main", "everything")[number % 4]
            pids = alone(folder, progress) if victim == "writer" else worker(folder, progress)
            if number % 8 < 6:  # else it may be killed before its first record
                wait_at_work(progress, len(pids))
            time.sleep(chance.random() ** 2 * 0.03)
            first = pids[1:2] if victim == "pool child" else pids[:1] if victim == "worker main" else pids
            kill(first)
            if len(first) < len(pids):
                time.sleep(chance.random() * 0.003)  # the others live on for a moment
                kill(pid for pid in pids if pid not in first)
            wait_gone(pids)
            found, counts = verdict(folder, progress)
            totals.update(counts)
            totals["records"] += found.intact
            totals["kills"] += len(pids)
            victims.update(["writer"] if victim == "writer" else ["worker main", *["pool child"] * 2])
            shutil.rmtree(folder)
    return {
        "rounds": rounds,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        **totals,
        "victims": victims,
    }


def step_kills() -> dict[str, Any]:
    """Kill a writer at every step of a run with calls, reads, several segments and a good end."""
    totals: Counter[str] = Counter()
    with memory_folder() as base:
        prepare(base)

        def one(step: int, moment: str) -> tuple[int, dict[str, int], int]:
            folder = base / f"{step}-{moment}"
            folder.mkdir()
            progress = Progress(2)

            def body() -> None:
                files = Deadly(step, moment)
                spool = record_into(folder / "spool", files=files, segment_size=2048)
                work(spool, folder / "effects", progress, 0, 6)
                spool.close()
                progress.note(1, 0, files.steps)

            _, status = os.waitpid(fork(body), 0)
            _, counts = verdict(folder, progress)
            return progress.read(1)[1], counts, os.waitstatus_to_exitcode(status)

        steps, _, status = one(0, "")
        assert status == 0
        assert steps > 20
        for step in range(1, steps + 1):
            for moment in MOMENTS:
                _, counts, status = one(step, moment)
                if moment == "middle" and status == 0:
                    continue  # not a write
                assert status == -signal.SIGKILL, (step, moment, status)
                totals.update(counts)
                totals["kills"] += 1
    return {"steps": steps, **totals}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["random", "steps"])
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    result = random_kills(options.rounds, options.seed) if options.what == "random" else step_kills()
    print(json.dumps(result))
    return int(any(result.get(name) for name in ("effects_without_record", "acknowledged_lost", "inexact")))


if __name__ == "__main__":
    sys.exit(main())
