"""The account of a spool: recorded = delivered + pending + quarantined, for each writer and in all."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from handrail_propagation.spool.ledger import Entry, Ledger
from handrail_propagation.spool.reader import Cursor, Place, WriterState, segments, survey
from handrail_propagation.spool.rebuilt import load_all
from handrail_propagation.spool.segments import parse_name

_TRIES: Final = 5
_LOOKS: Final = 100
"""A look takes a few milliseconds; ledgers change four times a second."""


@dataclass(slots=True)
class Line:
    """One writer, or all of them: numbers of records. `dropped` ones were never recorded."""

    recorded: int = 0
    delivered: int = 0
    """Acknowledged by every destination."""
    pending: int = 0
    quarantined: int = 0
    """Damaged, missing, or refused for good."""
    dropped: int = 0

    def add(self, other: Line) -> None:
        """Add another line to this one."""
        self.recorded += other.recorded
        self.delivered += other.delivered
        self.pending += other.pending
        self.quarantined += other.quarantined
        self.dropped += other.dropped

    @property
    def is_exact(self) -> bool:
        """Whether every recorded record is accounted for once."""
        return self.recorded == self.delivered + self.pending + self.quarantined


@dataclass(slots=True)
class WriterLine(Line):
    """One writer's account, and who it is."""

    writer: int = 0
    pid: int = 0
    host: str = ""
    alive: bool = False
    closed: bool = False
    damages: list[Place] = field(default_factory=list)
    lost: list[range] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DestinationLine:
    """One destination, by its own ledger: numbers of records. `pending` includes damage that it has not come to."""

    name: str
    delivered: int
    pending: int
    quarantined: int
    declined: int
    """Of the delivered records, log records that it has no place for."""


@dataclass(slots=True)
class Account:
    """The account of a folder. `total` includes `finished`: writers of which nothing is left."""

    folder: Path
    total: Line
    finished: Line
    writers: list[WriterLine]
    by_destination: list[DestinationLine]
    bytes: int
    oldest_pending: int = 0
    """When the oldest pending record says that it was made, in nanoseconds since 1970; 0 without one."""

    @property
    def destinations(self) -> list[str]:
        """Names of the destinations that this spool has been forwarded to."""
        return [line.name for line in self.by_destination]

    def to_json(self) -> dict[str, Any]:
        """Return the account as one JSON document; a place is file, offset and length in bytes."""
        return {
            "folder": str(self.folder),
            "destinations": [asdict(line) for line in self.by_destination],
            "bytes": self.bytes,
            "oldest_pending_unix_nano": self.oldest_pending,
            "total": _numbers(self.total),
            "finished": _numbers(self.finished),
            "writers": [
                {
                    "writer": f"{line.writer:016x}",
                    "pid": line.pid,
                    "host": line.host,
                    "alive": line.alive,
                    "closed": line.closed,
                    **_numbers(line),
                    "quarantine": [
                        {
                            "file": place.path.name,
                            "offset": place.damage.offset,
                            "length": place.damage.end - place.damage.offset,
                            "reason": place.damage.reason,
                        }
                        for place in line.damages
                    ],
                    "lost": [{"first": numbers[0], "last": numbers[-1]} for numbers in line.lost],
                }
                for line in self.writers
            ],
        }


def _numbers(line: Line) -> dict[str, int | bool]:
    return {
        "recorded": line.recorded,
        "delivered": line.delivered,
        "pending": line.pending,
        "quarantined": line.quarantined,
        "dropped": line.dropped,
        "exact": line.is_exact,
    }


def account(folder: Path) -> Account:
    """Return the account of a spool folder. Raises `OSError` when there is no such folder.

    Processes go on writing and forwarding meanwhile: it is the account of one moment.
    """
    # Segments go meanwhile, which takes as long as the reading does: what is read first and has been delivered when
    # the ledgers are looked at once more is delivered. What comes meanwhile is no part of it
    ledgers, present = _progress(folder)
    for _ in range(_TRIES):
        states = survey(
            folder, {writer: entry.cursor for writer, entry in _settled(ledgers, present).items()}
        )
        ledgers, present = _progress(folder)
        for one in ledgers:
            for writer in present - {state.id for state in states}:
                one.writers.pop(writer, None)
        states = [state for state in states if state.id in present]
        settled = _settled(ledgers, present)
        if all(state.after.sequence <= _cursor(settled, state).sequence for state in states):
            break  # else a ledger was put aside, and what it had settled has not been read
    lines = [_line(state, settled.get(state.id, Entry())) for state in states]
    finished = _finished(ledgers, present)
    total = Line()
    for line in (finished, *lines):
        total.add(line)
    size = sum(segment.size() for state in states for segment in state.segments)
    waiting = [state for state in states if state.recorded > _cursor(settled, state).sequence]
    oldest = min((state.oldest for state in waiting if state.oldest), default=0)
    return Account(
        folder, total, finished, lines, [_destination(one, total) for one in ledgers], size, oldest
    )


def _progress(folder: Path) -> tuple[list[Ledger], set[int]]:
    """Return the ledgers, and the writers of which there were segments when they were as they are."""
    ledgers = load_all(folder)
    for _ in range(_LOOKS):
        present = set(segments(folder))
        before, ledgers = ledgers, load_all(folder)
        if ledgers == before:
            break
    return ledgers, present


def _destination(one: Ledger, total: Line) -> DestinationLine:
    quarantined = one.finished.quarantined + sum(entry.quarantined for entry in one.writers.values())
    pending = total.recorded - one.delivered - quarantined
    return DestinationLine(one.destination, one.delivered, pending, quarantined, one.declined)


def _cursor(settled: Mapping[int, Entry], state: WriterState) -> Cursor:
    return settled.get(state.id, Entry()).cursor


def _settled(ledgers: list[Ledger], present: Container[int]) -> dict[int, Entry]:
    """Return, for each writer that has segments, the entry of the destination that is furthest behind."""
    settled: dict[int, Entry] = {}
    for writer in {writer for one in ledgers for writer in one.writers if writer in present}:
        entries = [one.writers.get(writer, Entry()) for one in ledgers]
        settled[writer] = min(entries, key=lambda entry: (entry.cursor.sequence, -entry.quarantined))
    return settled


def _finished(ledgers: list[Ledger], present: Container[int]) -> Line:
    """A writer without segments is finished at all destinations, whether their ledgers say so yet or not.

    They differ only in what was refused.
    """
    lines = []
    for one in ledgers:
        totals = one.finished
        line = Line(0, totals.delivered, 0, totals.quarantined, totals.dropped)
        for writer, entry in one.writers.items():
            if writer not in present:
                line.add(Line(0, entry.delivered, entry.opens, entry.quarantined, entry.dropped))
        line.recorded = line.delivered + line.pending + line.quarantined
        lines.append(line)
    return max(lines, key=lambda line: line.quarantined, default=Line())


def _line(state: WriterState, entry: Entry) -> WriterLine:
    cursor = entry.cursor
    lost = [
        range(max(numbers.start, cursor.sequence + 1), numbers.stop)
        for numbers in state.lost
        if numbers[-1] > cursor.sequence
    ]
    recorded = max(state.recorded, cursor.sequence)
    # Each number that was read is one of an intact record, or lost
    missing = sum(map(len, lost))
    return WriterLine(
        recorded=recorded,
        delivered=entry.delivered,
        pending=recorded - cursor.sequence - missing + entry.opens,
        quarantined=entry.quarantined + missing,
        dropped=max(state.dropped, entry.dropped),
        writer=state.id,
        pid=state.identity.pid,
        host=state.identity.host,
        alive=state.alive,
        closed=state.closed,
        damages=[place for place in state.damages if _position(place) > (cursor.index, cursor.offset)],
        lost=lost,
    )


def _position(place: Place) -> tuple[int, int]:
    """Return the index of the segment that a damage is in, and where it ends there."""
    name = parse_name(place.path.name)
    return (name[1] if name else 0), place.damage.end
