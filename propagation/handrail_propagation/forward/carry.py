"""Starts of open spans whose segment is deleted: `{writer}.open` holds them, in frames as a segment does.

Else one span that stays open for an hour would keep every segment of its writer for an hour.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from handrail_propagation.forward.frames import frames
from handrail_propagation.forward.stream import NO_ORIGIN, Start
from handrail_propagation.forward.wire import Origin, key_of
from handrail_propagation.spool.files import Files
from handrail_propagation.spool.reader import Place
from handrail_propagation.spool.record import Damage, Kind, pack
from handrail_propagation.spool.segments import carried_path


def load(
    folder: Path, writer: int, origin: Callable[[bytes], Origin]
) -> tuple[dict[bytes, Start], list[Place]]:
    """Return the starts that are carried for a writer, trace and span id → start, and what is damaged of them."""
    path = carried_path(folder, writer)
    starts: dict[bytes, Start] = {}
    damages: list[Place] = []
    current = NO_ORIGIN
    with contextlib.suppress(FileNotFoundError):
        for frame in frames(path.read_bytes(), writer):
            if isinstance(frame, Damage):
                damages.append(Place(path, frame))
                current = NO_ORIGIN  # that of the start before is not this one's
                continue
            kind, _, _, sequence, payload, _ = frame
            if kind == Kind.ORIGIN:
                current = origin(payload)
            elif kind == Kind.SPAN_START:
                starts[key_of(payload)] = sequence, current, payload
    return starts, damages


def save(folder: Path, writer: int, starts: Mapping[bytes, Start], files: Files) -> None:
    """Replace what is carried for a writer, durably; nothing carried is no file. Raises `OSError`."""
    path = carried_path(folder, writer)
    if not starts:
        files.unlink(path)
        return
    data = b"".join(
        pack(Kind.ORIGIN, writer, 0, origin.payload) + pack(Kind.SPAN_START, writer, sequence, payload)
        for sequence, origin, payload in starts.values()
    )
    files.replace(path, path.with_suffix(".carry"), data)
