"""SIGKILLs, by the thousand: a parent that has imported everything forks what is then killed.

`python tests/faults/kills.py random --rounds 1000` kills writers, pool children and worker main processes at
random instants; `python tests/faults/kills.py steps` kills a writer before, in the middle of and after every
call that it makes to the disk. Prints one JSON document; exit status 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from workload import Found, call, find, line_in, lines_of, look, record_into

from handrail_propagation.spool.files import Files
from handrail_propagation.spool.process import Spool

SLOT = struct.Struct("<QQ")
SEGMENT_SIZE = 8192  # several rotations within a round


class Progress:
    """Memory that outlives its writers: what each of them was told to be recorded."""

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, SLOT.size * slots)
        self.slots = slots

    def note(self, slot: int, writer: int, number: int) -> None:
        SLOT.pack_into(self._memory, slot * SLOT.size, writer, number)

    def seen(self) -> dict[int, int]:
        pairs = [SLOT.unpack_from(self._memory, slot * SLOT.size) for slot in range(self.slots)]
        return {writer: number for writer, number in pairs if writer}


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


def fork(body: Callable[[], None]) -> int:
    """Run `body` in a child; return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body()
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    return pid


def alone(folder: Path, progress: Progress) -> list[int]:
    """A single writer."""
    spool = record_into(folder / "spool", segment_size=SEGMENT_SIZE)
    return [fork(lambda: work(spool, folder / "effects", progress, 0, 10_000))]


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


def wait_gone(pids: list[int]) -> None:
    """Return when the processes have ended; those that are not ours to wait for lose their parent first."""
    for pid in pids:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            while _state(pid) not in ("", "Z"):
                time.sleep(0.0005)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


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


def random_kills(rounds: int, seed: int) -> dict[str, Any]:
    """Kill at random instants; the victims take turns: a writer, a pool child, the main process, all at once."""
    chance = random.Random(seed)
    totals: Counter[str] = Counter()
    victims: Counter[str] = Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as base:
        for number in range(rounds):
            folder = Path(base) / str(number)
            folder.mkdir()
            progress = Progress(3)
            victim = ("writer", "pool child", "worker main", "everything")[number % 4]
            pids = alone(folder, progress) if victim == "writer" else worker(folder, progress)
            time.sleep(chance.random() ** 2 * 0.03)
            first = pids[1:2] if victim == "pool child" else pids[:1] if victim == "worker main" else pids
            for pid in first:
                os.kill(pid, signal.SIGKILL)
            if len(first) < len(pids):
                time.sleep(chance.random() * 0.003)  # the others live on for a moment
                for pid in pids:
                    if pid not in first:
                        os.kill(pid, signal.SIGKILL)
            wait_gone(pids)
            found, counts = verdict(folder, progress)
            totals.update(counts)
            totals["records"] += found.intact
            totals["kills"] += len(pids)
            victims[victim] += 1
            shutil.rmtree(folder)
    return {
        "rounds": rounds,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        **totals,
        "victims": victims,
    }


class Deadly(Files):
    """Kills its process at one step: before a call, after it, or when half of a write has gone in."""

    def __init__(self, step: int, moment: str) -> None:
        self._step = step
        self._moment = moment
        self.steps = 0

    def _reach(self, moment: str) -> bool:
        return self.steps == self._step and self._moment == moment

    def write(self, descriptor: int, data: bytes) -> int:
        self.steps += 1
        if self._reach("middle"):
            os.write(descriptor, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return int(self._around(super().write, descriptor, data))

    def _around(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._reach("before"):
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments)
        if self._reach("after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def _deadly(name: str) -> None:
    original = getattr(Files, name)

    def call(self: Deadly, *arguments: Any) -> Any:
        self.steps += 1
        return self._around(lambda *given: original(self, *given), *arguments)

    setattr(Deadly, name, call)


for _name in ("make_folder", "create", "sync", "sync_folder", "rename", "unlink", "close"):
    _deadly(_name)


def step_kills() -> dict[str, Any]:
    """Kill a writer at every step of a run with calls, reads, several segments and a good end."""
    totals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as base:

        def one(step: int, moment: str) -> tuple[int, dict[str, int], int]:
            folder = Path(base) / f"{step}-{moment}"
            folder.mkdir()
            progress = Progress(2)

            def body() -> None:
                files = Deadly(step, moment)
                spool = record_into(folder / "spool", files=files, segment_size=2048)
                work(spool, folder / "effects", progress, 0, 6)
                spool.close()
                progress.note(1, 0, files.steps)

            pid = fork(body)
            _, status = os.waitpid(pid, 0)
            steps = SLOT.unpack_from(progress._memory, SLOT.size)[1]
            _, counts = verdict(folder, progress)
            return steps, counts, os.waitstatus_to_exitcode(status)

        steps, _, status = one(0, "")
        assert status == 0
        assert steps > 20
        for step in range(1, steps + 1):
            for moment in ("before", "middle", "after"):
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
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    result = random_kills(options.rounds, options.seed) if options.what == "random" else step_kills()
    print(json.dumps(result))
    return int(any(result.get(name) for name in ("effects_without_record", "acknowledged_lost", "inexact")))


if __name__ == "__main__":
    sys.exit(main())
