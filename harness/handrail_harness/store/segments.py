"""The raw log's files: names, reading them in order, cutting off a tail that a crash left half written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from handrail_harness.store.base import START, Damage, Position, Record
from handrail_harness.store.frames import scan

SUFFIX = ".seg"


def path_of(folder: Path, segment: int) -> Path:
    """Return the file of a segment number."""
    return folder / f"{segment:012d}{SUFFIX}"


def numbers(folder: Path) -> list[int]:
    """Return the numbers of the segments that exist, ascending."""
    return sorted(int(path.stem) for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit())


def read(folder: Path, start: Position = START, end: Position | None = None) -> Iterator[Record | Damage]:
    """Yield records and damage from `start` up to `end` (to the end of the last segment when `None`)."""
    for segment in numbers(folder):
        if segment < start.segment or (end is not None and segment > end.segment):
            continue
        offset = start.offset if segment == start.segment else 0
        with path_of(folder, segment).open("rb") as file:
            limit = os.fstat(file.fileno()).st_size
            if end is not None and segment == end.segment:
                limit = min(limit, end.offset)
            file.seek(offset)
            data = file.read(max(0, limit - offset))
        yield from scan(data, Position(segment, offset))


def batches(
    folder: Path, start: Position, end: Position, *, records: int = 256, size: int = 4 << 20
) -> Iterator[list[Record | Damage]]:
    """Yield what `read` does in lists of at most `records` items and about `size` bytes of payload."""
    batch: list[Record | Damage] = []
    held = 0
    for item in read(folder, start, end):
        batch.append(item)
        held += len(item.payload) if isinstance(item, Record) else 0
        if len(batch) >= records or held >= size:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def end(folder: Path) -> Position:
    """Return the place after the last byte of the log; segments that hold nothing do not count."""
    for segment in reversed(numbers(folder)):
        size = path_of(folder, segment).stat().st_size
        if size:
            return Position(segment, size)
    return START


def repair_tail(folder: Path, quarantine: Path) -> tuple[int, Damage | None]:
    """Cut a half-written record off the last segment; return the highest sequence there and what was cut off.

    The bytes are kept in a file of `quarantine`, synced before the segment is shortened.
    """
    highest = 0
    for segment in reversed(numbers(folder)):
        tail: Damage | None = None
        for item in read(folder, Position(segment, 0), Position(segment, sys.maxsize)):
            if isinstance(item, Record):
                highest = max(highest, item.sequence)
            elif item.reason == "tail":
                tail = item
        if tail is not None:
            _quarantine(path_of(folder, segment), tail, quarantine)
        if highest or tail is not None:
            return highest, tail
    return highest, None


def _quarantine(segment: Path, tail: Damage, quarantine: Path) -> None:
    private_folder(quarantine)
    with segment.open("r+b") as file:
        file.seek(tail.at.offset)
        kept = quarantine / f"{segment.stem}-{tail.at.offset}.bin"
        handle = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as copy:
            copy.write(file.read())
            copy.flush()
            os.fsync(copy.fileno())
        sync_folder(quarantine)
        file.truncate(tail.at.offset)
        file.flush()
        os.fsync(file.fileno())


def private_folder(folder: Path) -> None:
    """Create a folder that only its owner can enter; an existing one stays as it is."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a new or renamed file's entry in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
