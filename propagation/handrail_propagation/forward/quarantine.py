"""What cannot be delivered: said with its place, and its segment kept for people to look at.

`DIR/quarantine/places.jsonl` has one line a place; the segments that they point into are moved there, and not deleted,
as long as all of them are below `MAX_BYTES`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from handrail_propagation.forward.wire import Item
from handrail_propagation.spool.files import FILES, Files
from handrail_propagation.spool.reader import Place
from handrail_propagation.spool.segments import path_of

_log = logging.getLogger(__name__)

FOLDER: Final = "quarantine"
PLACES: Final = "places.jsonl"
MAX_BYTES: Final = 32 << 20


class Quarantine:
    """The quarantine of one spool."""

    def __init__(self, folder: Path, files: Files = FILES) -> None:
        self._spool = folder
        self._folder = folder / FOLDER
        self._files = files
        self._kept: set[str] | None = None

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
            with contextlib.suppress(FileNotFoundError):
                for line in (self._folder / PLACES).read_text(encoding="utf-8").splitlines():
                    with contextlib.suppress(ValueError, TypeError, KeyError):
                        self._kept.add(json.loads(line)["file"])
        return path.name in self._kept

    def keep(self, path: Path) -> None:
        """Move a segment here in place of deleting it; the oldest ones make room for it."""
        self._files.make_folder(self._folder)
        with contextlib.suppress(FileNotFoundError):
            self._files.rename(path, self._folder / path.name)
        kept = sorted(self._folder.glob("*.seg"), key=lambda each: each.stat().st_mtime_ns)
        size = sum(each.stat().st_size for each in kept)
        while size > MAX_BYTES and len(kept) > 1:
            oldest = kept.pop(0)
            size -= oldest.stat().st_size
            _log.warning("%s: deleted, the quarantine is above %d bytes", oldest, MAX_BYTES)
            self._files.unlink(oldest)

    def _say(self, lines: Iterable[dict[str, Any]]) -> None:
        said = list(lines)
        if not said:
            return
        self._files.make_folder(self._folder)
        text = "".join(json.dumps(line) + "\n" for line in said).encode()
        descriptor = os.open(
            self._folder / PLACES, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            self._files.write(descriptor, text)
            self._files.sync(descriptor)
        finally:
            os.close(descriptor)
        self.has(Path())
        assert self._kept is not None  # noqa: S101 - read by the line above
        self._kept |= {line["file"] for line in said}
