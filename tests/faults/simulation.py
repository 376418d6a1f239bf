"""A spool's life by chance: a worker's processes, a forwarder, two destinations, and all that can befall them.

    python -m tests.faults.simulation --lives 400    # of the seeds 0 to 399, and a quarter from 1,000,000 on
    python -m tests.faults.simulation --seeds 17     # one of them again

One process, one thread, no clock: what a seed has done once it does again. Prints one JSON document, in which
`failures` names the seeds and what was wrong in the end; exit status 1 when there are any.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from handrail_propagation.forward import retry
from handrail_propagation.forward import shipper as shipping
from handrail_propagation.forward.destination import Destination
from handrail_propagation.forward.forwarder import Forwarder
from handrail_propagation.forward.outcome import Later, Outcome
from handrail_propagation.forward.sending import Stopped
from handrail_propagation.forward.shipper import Shipper
from handrail_propagation.forward.wire import Signal
from handrail_propagation.spool.accounting import account
from handrail_propagation.spool.reader import segments

from ..support.spool_scene import There, record_ids
from .perilous import Killed, Perilous
from .processes import memory_folder
from .simulated import Quarrelling, Worker

WRONG: Final = ("lost", "ended_twice", "inexact", "left")
"""What is counted of a life and must come to nothing."""

QUARRELS: Final = 1_000_000
"""Seeds from here on are of workers whose main process and children contradict each other all the time."""


class Elsewhere(There):
    """A destination that comes and goes; while a request to it is under way, everybody else goes on."""

    def __init__(self, life: Life) -> None:
        super().__init__()
        self._life = life
        self.is_away = False
        self.sent_twice = 0

    def send(self, signal: Signal, body: bytes) -> Outcome:
        """Take it, unless away; now and then the answer gets lost."""
        self._life.go_on(self)
        if self.is_away:
            return Later("away")
        outcome: Outcome = self._life.files.around(super().send, signal, body)
        return Later("no answer") if self._life.chance.random() < self._life.files.trouble else outcome


class Life:
    """Everything that happens to one folder by one seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.files = Perilous(self.chance)
        self.worker = (Quarrelling if seed >= QUARRELS else Worker)(folder, self.chance)
        self.destinations = [Elsewhere(self), Elsewhere(self)]
        self.stops = 0
        self._folder = folder
        self._forwarder: Forwarder | None = None
        self._is_stopping = False
        self._sending: list[Shipper] = []
        """In the middle of a round: elsewhere each has a thread of its own."""
        self._is_ending = False

    def live(self) -> None:
        """Let things happen, and then everybody come to an end in peace."""
        for _ in range(self.chance.randint(100, 400)):
            if self.chance.random() < 0.2:
                self._forward()
            else:
                self._act()
        self._is_ending = True
        for destination in self.destinations:
            destination.is_away = False
        self.worker.die()
        self._let_go()
        for _ in range(3):
            self._rounds(self._elected(), patience=0.0)
        self._let_go()

    def _act(self) -> None:
        if self.chance.random() < 0.03:
            destination = self.chance.choice(self.destinations)
            destination.is_away = not destination.is_away
        else:
            self.worker.act()

    def go_on(self, destination: Elsewhere) -> None:
        """Let happen what may while a request is under way; a destination that is away is back some time."""
        if self._is_ending:
            return
        if self.chance.random() < 0.1:
            self._act()
        if self.chance.random() < 0.05:
            self._rounds(self._elected())
        if destination.is_away:  # for ten attempts or so: that is when others get ahead of it
            destination.is_away = self.chance.random() < 0.9
            if self.chance.random() < 0.2:
                self._elected().stop()
                self._is_stopping = True

    def _forward(self) -> None:
        """Let the forwarder, or the next one, look at the folder; in more or less danger."""
        self.files.danger = self.chance.choice((0, 0, 0.02, 0.1))
        self.files.trouble = self.chance.choice((0, 0, 0.02))
        try:
            self._rounds(self._elected())
        except (Killed, OSError):
            self._let_go()  # there is none any more, or the disk failed before there was one
        self.files.danger = self.files.trouble = 0.0
        if self._is_stopping:
            self.stops += 1
            self._let_go()
        total = account(self._folder).total
        assert (total.recorded, total.quarantined, total.is_exact) == (self.worker.recorded, 0, True), total

    def _elected(self) -> Forwarder:
        if self._forwarder is None:
            found = [
                Destination(f"destination {number}", destination, self.chance.choice((1, 300, 2 << 20)))
                for number, destination in enumerate(self.destinations)
            ]
            forwarder = Forwarder(self._folder, found, files=self.files)
            assert forwarder.elect()
            self._forwarder = forwarder
        return self._forwarder

    def _rounds(self, forwarder: Forwarder, patience: float = 0.7) -> None:
        for shipper in forwarder.shippers:
            if shipper in self._sending:
                continue
            self._sending.append(shipper)
            try:
                shipper.round(patient=self.chance.random() < patience)
            except Stopped:
                pass
            except OSError:
                assert not self._is_ending  # else its thread tries again
            finally:
                self._sending.remove(shipper)

    def _let_go(self) -> None:
        if self._forwarder is not None:
            self._forwarder.release()
        self._forwarder, self._is_stopping = None, False


def outcome(life: Life, folder: Path) -> Counter[str]:
    """Count what a life has come to, and what is `WRONG` with it."""
    total = account(folder).total
    counted: Counter[str] = Counter(
        kills=life.files.kills,
        stops=life.stops,
        records=life.worker.recorded,
        lost=0,
        ended_twice=0,
        sent_twice=0,
        left=len(segments(folder)) + len(list(folder.glob("*.open"))),
        inexact=int(not total.is_exact or total.delivered != life.worker.recorded),
    )
    for there in life.destinations:
        ends: defaultdict[str, set[str]] = defaultdict(set)
        for span, record in zip(there.spans, record_ids(there.spans), strict=True):
            ends[span.name].add(record)
        events = {event.event_name for event in there.events}
        counted["lost"] += len(life.worker.spans - ends.keys()) + len(life.worker.events - events)
        counted["ended_twice"] += sum(len(records) > 1 for records in ends.values())
        counted["sent_twice"] += len(there.spans) + len(there.events) - len(ends) - len(events)
    return counted


def simulate(seeds: Iterable[int]) -> dict[str, Any]:
    """Live the lives of these seeds; return what came of all of them, and of each that went wrong."""
    totals: Counter[str] = Counter()
    failures: dict[int, Any] = {}
    began = time.monotonic()
    for seed in seeds:
        with memory_folder() as folder:
            life = Life(folder, seed)
            try:
                life.live()
                counted = outcome(life, folder)
            except Exception:  # noqa: BLE001 - the seed is told with it, and the others are lived as well
                failures[seed] = traceback.format_exc()
                continue
        totals["lives"] += 1
        totals.update(counted)
        if any(counted[name] for name in WRONG):
            failures[seed] = {name: counted[name] for name in WRONG if counted[name]}
    return {**totals, "seconds": round(time.monotonic() - began, 1), "failures": failures}


def _seeds(lives: int) -> set[int]:
    return {*range(lives), *range(QUARRELS, QUARRELS + lives // 4)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=0, help="how many, of the seeds from 0")
    parser.add_argument("--seeds", type=int, nargs="*", default=[], help="of these as well")
    options = parser.parse_args()
    logging.getLogger("handrail_propagation").setLevel(logging.CRITICAL)
    retry.FIRST = shipping.SAVE_EVERY = 0.0  # type: ignore[misc]
    result = simulate(sorted({*_seeds(options.lives), *options.seeds}))
    print(json.dumps(result))
    return int(bool(result["failures"]))


if __name__ == "__main__":
    sys.exit(main())
