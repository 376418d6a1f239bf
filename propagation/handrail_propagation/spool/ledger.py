"""How far each destination has acknowledged each writer's records: one small file a destination.

The forwarder writes it, `handrail spool status` reads it. `DIR/ledger/NAME.json` is replaced in one step.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from google_crc32c import value

from handrail_propagation.spool.files import FILES, Files
from handrail_propagation.spool.reader import Cursor

FOLDER: Final = "ledger"
_VERSION: Final = 1
_REMEMBERED: Final = 500
_CHECKSUM: Final = b', "checksum": '


@dataclass(frozen=True, slots=True)
class Entry:
    """One writer: how far its records are settled, and how many of those could not be delivered."""

    cursor: Cursor = field(default_factory=Cursor)
    quarantined: int = 0
    """Of the `cursor.sequence` settled records, those that are damaged or were refused for good."""
    dropped: int = 0
    """What its last settled record said that it had dropped."""
    opens: int = 0
    """Of the settled records, the starts of spans that have not ended: they are delivered with the span."""
    closed: bool = False
    """The writer is gone, everything was read, and the spans that it left open were ended for it."""

    @property
    def delivered(self) -> int:
        """Records that the destination has acknowledged."""
        return self.cursor.sequence - self.quarantined - self.opens

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON can hold it."""
        cursor = self.cursor
        return {
            "cursor": {"index": cursor.index, "offset": cursor.offset, "sequence": cursor.sequence},
            "quarantined": self.quarantined,
            "dropped": self.dropped,
            "opens": self.opens,
            "closed": self.closed,
        }


@dataclass(slots=True)
class Totals:
    """Writers that are gone, with all their records settled and all their segments deleted."""

    writers: int = 0
    delivered: int = 0
    quarantined: int = 0
    dropped: int = 0


@dataclass(slots=True)
class Ledger:
    """What one destination has acknowledged."""

    destination: str
    writers: dict[int, Entry] = field(default_factory=dict)
    finished: Totals = field(default_factory=Totals)
    declined: int = 0
    """Of the delivered records, log records that the destination has no place for."""
    ended: list[bytes] = field(default_factory=list)
    """Spans that were ended last, one or more of each writer that has closed, the oldest first; see `remember`."""

    @property
    def delivered(self) -> int:
        """Records that the destination has acknowledged, of all writers."""
        return self.finished.delivered + sum(entry.delivered for entry in self.writers.values())

    def copy(self) -> Ledger:
        """Return one that goes on by itself."""
        return replace(
            self, writers=dict(self.writers), finished=replace(self.finished), ended=list(self.ended)
        )

    def finish(self, writer: int) -> None:
        """Add a writer that is gone to the totals, and forget it."""
        entry = self.writers.pop(writer, None)
        if entry is not None:
            self.finished.writers += 1
            self.finished.delivered += entry.delivered
            self.finished.quarantined += entry.quarantined
            self.finished.dropped += entry.dropped

    def remember(self, spans: Iterable[bytes]) -> None:
        """Keep trace and span ids of spans with an end, for who says later, after a restart, that they had none."""
        self.ended = [*self.ended, *spans][-_REMEMBERED:]

    def save(self, folder: Path, files: Files = FILES) -> None:
        """Replace the destination's ledger; when this returns it is on disk. Raises `OSError`."""
        path = path_of(folder, self.destination)
        if not path.parent.exists():
            files.make_folder(path.parent)
            files.sync_folder(folder)
        files.replace(path, path.with_suffix(".new"), _sealed(json.dumps(self.to_json()).encode()))

    def to_json(self) -> dict[str, Any]:
        """Return the ledger as JSON can hold it."""
        return {
            "version": _VERSION,
            "destination": self.destination,
            "writers": {f"{writer:016x}": entry.to_json() for writer, entry in self.writers.items()},
            "finished": asdict(self.finished),
            "declined": self.declined,
            "ended": [key.hex() for key in self.ended],
        }


def path_of(folder: Path, destination: str) -> Path:
    """Return the file of a destination's ledger; destinations are told apart by a digest of their name."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", destination).strip("-.")[:40]
    return folder / FOLDER / f"{readable}-{hashlib.sha256(destination.encode()).hexdigest()[:8]}.json"


def _sealed(document: bytes) -> bytes:
    """Return a JSON object with its own checksum (CRC32C) as one more member, the last one."""
    return b"%b%b%d}" % (document[:-1], _CHECKSUM, value(document))


def _opened(text: bytes) -> Any:
    """Return what was sealed; raises `ValueError` when it is not what it was. One of an earlier version has no seal."""
    document, found, checksum = text.rpartition(_CHECKSUM)
    if found and int(checksum.removesuffix(b"}")) != value(document + b"}"):
        raise ValueError("the checksum is wrong")
    return json.loads(text)


def read(path: Path) -> Ledger | None:
    """Return the ledger in a file, `None` when there is no such file. Raises `ValueError` when it cannot be read."""
    try:
        document = _opened(path.read_bytes())
        if document["version"] != _VERSION:
            raise ValueError("an unknown version")
        writers = {
            int(writer, 16): Entry(
                Cursor(**{name: int(number) for name, number in entry["cursor"].items()}),
                int(entry["quarantined"]),
                int(entry["dropped"]),
                int(entry.get("opens", 0)),
                bool(entry.get("closed", False)),
            )
            for writer, entry in document["writers"].items()
        }
        finished = Totals(**{name: int(number) for name, number in document["finished"].items()})
        declined = int(document.get("declined", 0))
        ended = [bytes.fromhex(key) for key in document.get("ended", ())]
        return Ledger(str(document["destination"]), writers, finished, declined, ended)
    except (FileNotFoundError, IsADirectoryError):
        return None
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a ledger: {error!r}") from error
