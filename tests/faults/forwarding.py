"""A forwarder to kill, and the one that comes after it.

    python -m tests.faults.forwarding random --rounds 250    # 1,000 kills: forwarders, and the workers they forward for
    python -m tests.faults.forwarding steps                  # a forwarder, at every write, send and delete

Prints one JSON document; exit status 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from handrail_propagation.config import Config
from handrail_propagation.forward import forwarder as forwarding
from handrail_propagation.forward import shipper
from handrail_propagation.forward.destination import Transport, from_url
from handrail_propagation.forward.forwarder import Forwarder
from handrail_propagation.forward.outcome import Outcome
from handrail_propagation.forward.wire import Signal
from handrail_propagation.spool.accounting import Line, account
from handrail_propagation.spool.files import FILES
from handrail_propagation.spool.ledger import Ledger
from handrail_propagation.spool.reader import segments
from handrail_propagation.spool.rebuilt import load_all
from handrail_propagation.spool.record import Kind

from .arrivals import arrived, destination
from .deadly import MOMENTS, Deadly
from .kills import wait_at_work, worker
from .processes import Progress, fork, kill, memory_folder, wait_gone
from .workload import call, line_in, lines_of, look, numbers, prepare, record_into


class DeadlyTransport:
    """Dies before it sends a request, or when the destination has taken it and the answer has come."""

    def __init__(self, files: Deadly, transport: Transport) -> None:
        self._files = files
        self._transport = transport
        self.signals = transport.signals

    def send(self, signal: Signal, body: bytes) -> Outcome:
        """One more step."""
        outcome: Outcome = self._files.around(self._transport.send, signal, body)
        return outcome

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()


def make(folder: Path, endpoint: str, files: Deadly | None = None) -> Forwarder:
    """Return a forwarder of `folder`; with `files`, one that dies at a step of theirs."""
    to = from_url(endpoint, Config())
    if files is not None:
        to = replace(to, transport=DeadlyTransport(files, to.transport))
    return Forwarder(folder, [to], files=files or FILES)


def deliver(folder: Path, endpoint: str, files: Deadly | None = None) -> None:
    """Forward until nothing is left."""
    forwarding.LOOK = forwarding.PAUSE = 0.001  # type: ignore[misc]
    forwarder = make(folder, endpoint, files)
    assert forwarder.elect()
    forwarder.start(once=True)
    while forwarder.is_running:
        time.sleep(0.001)
    forwarder.stop()
    for each in forwarder.destinations:
        each.transport.close()


def forward(folder: Path, endpoint: str) -> None:
    """Forward until killed, in small steps and without a pause."""
    forwarding.LOOK = forwarding.PAUSE = 0.001  # type: ignore[misc]
    shipper.SAVE_EVERY = 0.0  # type: ignore[misc]
    shipper.BATCH_ITEMS = 5  # type: ignore[misc]
    make(folder, endpoint).start()
    signal.pause()


def total(folder: Path) -> Line:
    """Return the account of a folder in all."""
    return account(folder).total


def random_kills(rounds: int, seed: int) -> dict[str, Any]:
    """Kill forwarders at random instants while a worker writes, then the worker, too; another forwarder finishes."""
    chance = random.Random(seed)
    totals: Counter[str] = Counter()
    victims: Counter[str] = Counter()
    effects: set[str] = set()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, destination(Path(name) / "arrived") as endpoint:
        base = Path(name)
        prepare(base)
        for number in range(rounds):
            folder, progress = base / str(number), Progress(3)
            folder.mkdir()
            pids = worker(folder, progress)
            wait_at_work(progress, 1)
            for _ in range(chance.randint(1, 3)):
                pid = fork(lambda folder=folder: forward(folder / "spool", endpoint))  # type: ignore[misc]
                time.sleep(chance.random() * 0.06)
                kill([pid])
                wait_gone([pid])
                victims["forwarder"] += 1
            kill(pids)
            wait_gone(pids)
            victims.update(["worker main", *["pool child"] * 2])
            before = total(folder / "spool")
            deliver(folder / "spool", endpoint)
            after = total(folder / "spool")
            totals["inexact"] += not _agree(before, after)
            totals["acknowledged_lost"] += after.recorded < sum(progress.seen().values())
            totals["left"] += after.pending
            totals["records"] += after.recorded
            totals["quarantined"] += after.quarantined
            effects |= lines_of(folder / "effects")
            shutil.rmtree(folder)
        found = arrived(base / "arrived")
    return {
        "rounds": rounds,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "kills": victims.total(),
        "victims": victims,
        "effects": len(effects),
        "lost": len(effects - found.spans) + len(effects - found.decided),
        "sent_twice": found.twice,
        "anonymous": found.anonymous,
        **totals,
    }


def _agree(one: Line, other: Line) -> bool:
    """Whether two accounts of records to which none have come in between say the same of them."""
    return (
        one.is_exact
        and other.is_exact
        and (one.recorded, one.quarantined) == (other.recorded, other.quarantined)
    )


def believed(folder: Path, there: Mapping[int, Mapping[int, Kind]]) -> set[str]:
    """Return those records, of what was `there`, of which the ledger says that they have arrived; as `Arrived` does."""
    (ledger,) = load_all(folder) or [Ledger("")]
    left = segments(folder)
    words = {Kind.SPAN_END: "span", Kind.LOG: "log"}
    believed = set()
    for writer, kinds in there.items():
        entry = ledger.writers.get(writer)
        until = entry.cursor.sequence if entry else 0 if writer in left else max(kinds)
        believed |= {
            f"{words[kind]} {writer:016x}-{number}"
            for number, kind in kinds.items()
            if number <= until and kind in words
        }
    return believed


def remains(folder: Path) -> None:
    """Leave a spool of several segments: a process that ended well, one that was killed in a long call, a torn tail.

    To be run in a process of its own: a parent that lives is waited for, it might know how its child ended.
    """
    folder.mkdir()
    ended = fork(lambda: _calls(folder, killed=False))
    killed = fork(lambda: _calls(folder, killed=True))
    wait_gone([ended, killed])
    youngest = max((folder / "spool").glob("*.seg"), key=lambda path: path.stat().st_mtime_ns)
    with youngest.open("ab") as file:
        file.write(youngest.read_bytes()[:50])


def _calls(folder: Path, *, killed: bool) -> None:
    spool = record_into(folder / "spool", segment_size=2048)
    effect = line_in(folder / "effects")

    def work() -> None:
        for _ in range(5):
            look()
            call(effect)

    if killed:
        call(lambda span: _die_within(effect, span, work))
    work()
    spool.close()


def _die_within(effect: Callable[[str], None], span: str, work: Callable[[], None]) -> None:
    """Begin a call, go on for several segments, and die in another one within it."""
    effect(span)
    work()
    call(effect)
    os.kill(os.getpid(), signal.SIGKILL)


def step_kills(moments: Sequence[str]) -> dict[str, Any]:
    """Kill a forwarder at every step of forwarding a spool; another one finishes, from whatever is left."""
    totals: Counter[str] = Counter()
    with memory_folder() as base, destination(base / "arrived") as endpoint:
        log = base / "arrived"
        prepare(base)
        wait_gone([fork(lambda: remains(base / "remains"))])
        effects = lines_of(base / "remains" / "effects")
        shipper.SAVE_EVERY, shipper.BATCH_ITEMS = 0.0, 10  # type: ignore[misc]
        before, there = total(base / "remains" / "spool"), numbers(base / "remains" / "spool")
        progress = Progress(1)

        def one(step: int, moment: str) -> int:
            folder = base / f"{step}-{moment}"
            shutil.copytree(base / "remains" / "spool", folder)
            log.write_bytes(b"")

            def body() -> None:
                files = Deadly(step, moment)
                deliver(folder, endpoint, files)
                progress.note(0, 0, files.steps)

            _, status = os.waitpid(fork(body), 0)
            between = total(folder)
            unfounded = believed(folder, there) - arrived(log).records.keys()
            deliver(folder, endpoint)
            after, found = total(folder), arrived(log)
            exact = _agree(before, between) and _agree(before, after) and not unfounded
            totals["inexact"] += not exact
            totals["acknowledged_lost"] += before.recorded - min(between.recorded, after.recorded)
            totals["left"] += after.pending
            totals["lost"] += len(effects - found.spans) + len(effects - found.decided)
            totals["sent_twice"] += found.twice
            totals["different"] += len(found.records) != expected if expected else 0
            shutil.rmtree(folder)
            return os.waitstatus_to_exitcode(status)

        expected = 0
        assert one(0, "") == 0
        expected, steps = len(arrived(log).records), progress.read(0)[1]
        assert steps > 20
        for step in range(1, steps + 1):
            for moment in moments:
                status = one(step, moment)
                if status != 0:
                    assert status == -signal.SIGKILL, (step, moment, status)
                    totals["kills"] += 1
                else:
                    assert moment == "middle", (step, moment)  # not a write
    return {"steps": steps, "records": before.recorded, "effects": len(effects), **totals}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["random", "steps"])
    parser.add_argument("--rounds", type=int, default=250)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--moments", nargs="+", choices=MOMENTS, default=MOMENTS)
    options = parser.parse_args()
    result = (
        random_kills(options.rounds, options.seed)
        if options.what == "random"
        else step_kills(options.moments)
    )
    print(json.dumps(result))
    bad = ("lost", "acknowledged_lost", "inexact", "left", "different", "anonymous")
    return int(any(result.get(name) for name in bad))


if __name__ == "__main__":
    sys.exit(main())
