"""What cannot be delivered: said with its place, and its segment kept for people to look at.

`DIR/quarantine/places.jsonl` has one line a place; the segments that they point into are moved there, and not deleted,
as long as all of them are below `MAX_BYTES`. None of it is worth a standstill: on a full disk delivery goes on without.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from handrail_propagation.forward.wire import Item
from handrail_propagation.spool.files import FILES, Files, give_to_owner, is_full
from handrail_propagation.spool.reader import Place
from handrail_propagation.spool.segments import path_of

_log = logging.getLogger(__name__)

FOLDER: Final = "quarantine"
PLACES: Final = "places.jsonl"
PLACES_BEFORE: Final = "places.before.jsonl"
MAX_BYTES: Final = 32 << 20
MAX_PLACES: Final = 4 << 20
"""Bytes of one list of places; the one before it is kept, and no more."""
_MOST_UNSAID: Final = 1000


class Quarantine:
    """The quarantine of one spool."""

    def __init__(self, folder: Path, files: Files = FILES) -> None:
        self._spool = folder
        self._folder = folder / FOLDER
        self._files = files
        self._kept: set[str] | None = None
        self._unsaid: list[dict[str, Any]] = []
        """Places for which there was no room on disk yet; the log has them all."""

    def damaged(self, places: Iterable[Place]) -> None:
        """Say which bytes of which segments are no records."""
        places = list(places)
        for place in places:
            _log.error(
                "%s at %d: %d bytes are no record (%s); counted as quarantined",
                place.path,
                place.damage.offset,
                place.damage.end - place.damage.offset,
                place.damage.reason,
            )
        self._say(
            {
                "file": place.path.name,
                "offset": place.damage.offset,
                "length": place.damage.end - place.damage.offset,
                "reason": place.damage.reason,
            }
            for place in places
        )

    def refused(self, destination: str, items: list[Item], rejected: int, reason: str) -> None:
        """Say that a destination has rejected `rejected` of `items`: all of them, or it does not tell which."""
        _, _, writer, segment, end, sequence = items[0]
        _, _, last_writer, _, _, last_sequence = items[-1]
        self._say(
            [
                {
                    "file": path_of(self._spool, writer, segment).name,
                    "end": end,
                    "first": f"{writer:016x}-{sequence}",
                    "last": f"{last_writer:016x}-{last_sequence}",
                    "rejected": rejected,
                    "of": len(items),
                    "destination": destination,
                    "reason": reason,
                }
            ]
        )
        _log.error("%s has rejected %d of %d records: %s", destination, rejected, len(items), reason)

    def has(self, path: Path) -> bool:
        """Whether a place in this segment is in quarantine."""
        if self._kept is None:
            self._kept = set()
            for name in (PLACES_BEFORE, PLACES):
                with contextlib.suppress(FileNotFoundError):
                    for line in (self._folder / name).read_text("utf-8", "replace").splitlines():
                        with contextlib.suppress(ValueError, TypeError, KeyError):
                            self._kept.add(json.loads(line)["file"])
        return path.name in self._kept

    def keep(self, path: Path) -> None:
        """Move a segment here in place of deleting it; the oldest ones make room for it."""
        try:
            self._files.make_folder(self._folder)
            with contextlib.suppress(FileNotFoundError):
                self._files.rename(path, self._folder / path.name)
        except OSError as error:
            if not is_full(error):
                raise
            _log.warning("%s: deleted, there is no room for it in quarantine", path)
            self._files.unlink(path)
        self._shrink(MAX_BYTES, keep=1)

    def make_room(self) -> None:
        """On a full disk: delete the segments that are kept here, so that what has arrived can be let go of."""
        self._shrink(0, keep=0)

    def _shrink(self, most: int, keep: int) -> None:
        kept = sorted(self._folder.glob("*.seg"), key=lambda each: each.stat().st_mtime_ns)
        size = sum(each.stat().st_size for each in kept)
        while size > most and len(kept) > keep:
            oldest = kept.pop(0)
            size -= oldest.stat().st_size
            why = f"the quarantine is above {most} bytes" if most else "the disk is full"
            _log.warning("%s: deleted, %s", oldest, why)
            self._files.unlink(oldest)

    def _say(self, lines: Iterable[dict[str, Any]]) -> None:
        said = list(lines)
        if not said:
            return
        self.has(Path())
        assert self._kept is not None  # noqa: S101 - read by the line above
        self._kept |= {line["file"] for line in said}
        self._unsaid = [*self._unsaid, *said][-_MOST_UNSAID:]
        try:
            self._write("".join(json.dumps(line) + "\n" for line in self._unsaid).encode())
        except OSError as error:
            if not is_full(error):
                raise
            _log.error("%s: there is no room to write quarantined places down", self._folder)
        else:
            self._unsaid = []

    def _write(self, text: bytes) -> None:
        self._files.make_folder(self._folder)
        path = self._folder / PLACES
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            before = self._files.size(descriptor)
            if not before:
                give_to_owner(descriptor, self._folder)
            if self._files.write(descriptor, text) != len(text):
                os.ftruncate(descriptor, before)
                raise OSError(errno.ENOSPC, "could only be written in part", str(path))
            self._files.sync(descriptor)
            if before + len(text) > MAX_PLACES:
                self._files.rename(path, self._folder / PLACES_BEFORE)
        finally:
            os.close(descriptor)
