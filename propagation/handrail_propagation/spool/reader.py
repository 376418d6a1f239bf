"""Reads a spool folder: what is in it, who wrote it, what is damaged and what is missing.

Changes nothing, and fails on nothing that a file can hold. Live writers go on meanwhile.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from handrail_propagation.spool.identity import Identity
from handrail_propagation.spool.record import MAX_PAYLOAD, Damage, Kind, Record, scan
from handrail_propagation.spool.segments import parse_name
from handrail_propagation.spool.writer import SEGMENT_SIZE

MAX_FILE: Final = 2 * (SEGMENT_SIZE + MAX_PAYLOAD)
"""Bytes; what is longer has not been written by a writer of ours, and only its beginning is read."""


@dataclass(frozen=True, slots=True, order=True)
class SegmentFile:
    """A segment as it is found in the folder."""

    writer: int
    index: int
    path: Path

    def size(self) -> int:
        """Return its size in bytes, 0 when it has been deleted meanwhile."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def is_locked(self) -> bool:
        """Whether a living process has it open for writing."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """How far a writer's records have been dealt with: all numbers up to `sequence`, all bytes up to `offset`."""

    index: int = 0
    offset: int = 0
    """In the segment `index`; all segments before it are dealt with."""
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A damage, and the file that it is in."""

    path: Path
    damage: Damage


@dataclass(slots=True)
class WriterState:
    """What the folder tells of one writer behind `after`."""

    id: int
    after: Cursor
    segments: list[SegmentFile]
    alive: bool
    identity: Identity = field(default_factory=Identity)
    closed: bool = False
    """Its last record says that it ended in good order."""
    recorded: int = 0
    """The highest number that it gave to a record."""
    intact: int = 0
    """Records behind `after` that can be read."""
    lost: list[range] = field(default_factory=list)
    """Numbers above `after.sequence` that no intact record carries."""
    damages: list[Place] = field(default_factory=list)
    dropped: int = 0
    counts: dict[Kind, int] = field(default_factory=dict)
    oldest: int = 0
    """When the first record behind `after` says that it was made, in nanoseconds since 1970; 0 where none says."""

    @property
    def quarantined(self) -> int:
        """How many records behind `after` are lost to damage."""
        return sum(len(numbers) for numbers in self.lost)


def segments(folder: Path) -> dict[int, list[SegmentFile]]:
    """Return the segments of each writer, in the order they were written; raises `OSError` for no folder."""
    with os.scandir(folder) as entries:
        names = [(entry.name, entry.path) for entry in entries]
    found = [
        SegmentFile(*parsed, Path(path)) for name, path in names if (parsed := parse_name(name)) is not None
    ]
    writers: dict[int, list[SegmentFile]] = {}
    for segment in sorted(found):
        writers.setdefault(segment.writer, []).append(segment)
    return writers


def is_alive(files: Iterable[SegmentFile]) -> bool:
    """Whether the writer of these segments lives: it holds the lock of at least one."""
    return any(segment.is_locked() for segment in sorted(files, reverse=True))


def read(segment: SegmentFile, offset: int = 0) -> Iterator[Record | Damage]:
    """Yield what a segment holds from `offset`, which must be the beginning or the end of a record.

    A fragment at the end may be a record that a living writer is just writing.
    """
    try:
        with segment.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size - offset  # now: a living writer goes on meanwhile
            file.seek(offset)
            data = file.read(max(0, min(size, MAX_FILE)))
    except FileNotFoundError:
        return
    yield from scan(data, base=offset, writer=segment.writer)
    if size > MAX_FILE:
        yield Damage("checksum", offset + len(data), offset + size)


def survey(folder: Path, after: Mapping[int, Cursor] | None = None) -> list[WriterState]:
    """Return the state of every writer of the folder.

    `after` gives, for writers of which records have been delivered, how far; everything before that is out of
    the account. Raises `OSError` when there is no such folder.
    """
    states = []
    for writer, files in segments(folder).items():
        state = WriterState(writer, (after or {}).get(writer, Cursor()), files, alive=is_alive(files))
        _survey(state)
        states.append(state)
    return states


def _survey(state: WriterState) -> None:
    expected = state.after.sequence + 1
    behind: list[Damage] = []
    """Damages since the last intact record: each was a record, unless its number is used again."""
    for segment in state.segments:
        if segment.index < state.after.index:
            continue
        writing = state.alive and segment is state.segments[-1]
        for item in read(segment, state.after.offset if segment.index == state.after.index else 0):
            if isinstance(item, Damage):
                if not (item.reason == "fragment" and writing):
                    state.damages.append(Place(segment.path, item))
                    behind.append(item)
                continue
            behind.clear()
            if item.kind is Kind.WRITER:
                _identify(state, item)
            state.closed = item.kind is Kind.CLOSE
            state.dropped = max(state.dropped, item.dropped)
            if item.sequence < expected:
                continue  # a second copy
            if item.sequence > expected:
                state.lost.append(range(expected, item.sequence))
            expected = item.sequence + 1
            state.intact += 1
            if not state.oldest:
                state.oldest = _made_at(item)
            state.counts[item.kind] = state.counts.get(item.kind, 0) + 1
    if behind:
        state.closed = False
        # Only a number under a right checksum can be believed
        certain = (damage.sequence for damage in behind if damage.reason.startswith("unknown"))
        top = max(expected + len(behind) - 1, *certain, 0)
        state.lost.append(range(expected, top + 1))
        expected = top + 1
    state.recorded = expected - 1


def _identify(state: WriterState, record: Record) -> None:
    try:
        state.identity = Identity.parse(record.payload)
    except ValueError:
        return


def _made_at(record: Record) -> int:
    try:
        if record.kind is Kind.LOG:
            log = LogRecord.FromString(record.payload)
            return log.observed_time_unix_nano or log.time_unix_nano
        if record.kind in (Kind.SPAN_START, Kind.SPAN_END):
            span = Span.FromString(record.payload)
            return span.end_time_unix_nano or span.start_time_unix_nano
    except DecodeError:
        pass
    return 0
