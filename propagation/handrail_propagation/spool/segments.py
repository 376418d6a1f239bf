"""A writer's files: their names, and the one that is open."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from handrail_propagation.spool.files import Files
from handrail_propagation.spool.record import Kind, pack

SUFFIX: Final = ".seg"
UNFINISHED: Final = ".new"
"""A segment that has not got its first record yet: nothing in it counts."""
CARRIED: Final = ".open"
_NAME: Final = re.compile(r"([0-9a-f]{16})-(\d{8,})\.seg")


def path_of(folder: Path, writer: int, index: int) -> Path:
    """Return the file of a writer's segment; segments are counted from 1."""
    return folder / f"{writer:016x}-{index:08d}{SUFFIX}"


def carried_path(folder: Path, writer: int) -> Path:
    """Return the file of the starts of a writer's open spans whose segments are deleted."""
    return folder / f"{writer:016x}{CARRIED}"


def parse_name(name: str) -> tuple[int, int] | None:
    """Return writer and index of a segment's file name, `None` for the name of anything else."""
    match = _NAME.fullmatch(name)
    return (int(match[1], 16), int(match[2])) if match else None


@dataclass(slots=True, eq=False)
class Segment:
    """A file that this process appends to."""

    path: Path
    descriptor: int
    size: int
    last: int
    """The number of the last record in it."""
    origins: dict[bytes, int] = field(default_factory=lambda: {b"": 0})
    """Payload of an origin record → its number in this segment; records without one have number 0."""
    listed: bool = False
    """Whether its name is on disk."""
    retired: bool = False
    """Nothing is appended any more."""


def open_segment(
    files: Files, folder: Path, writer: int, index: int, sequence: int, identity: bytes
) -> Segment:
    """Create a writer's next segment with `identity` as its first record, numbered `sequence`.

    Raises `OSError` and leaves nothing behind when that cannot be done.
    """
    path = path_of(folder, writer, index)
    unfinished = path.with_suffix(UNFINISHED)
    frame = pack(Kind.WRITER, writer, sequence, identity)
    descriptor = files.create(unfinished)
    try:
        if (written := files.write(descriptor, frame)) != len(frame):
            raise OSError(28, f"only {written} of {len(frame)} bytes could be written", str(unfinished))
        files.rename(unfinished, path)
        return Segment(path, descriptor, len(frame), sequence)
    except BaseException:
        files.close(descriptor)
        files.unlink(unfinished)
        files.unlink(path)
        raise
