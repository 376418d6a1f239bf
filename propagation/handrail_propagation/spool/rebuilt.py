"""The ledgers of a folder; one that cannot be read is made anew from what the folder still says.

A segment is deleted when every destination has acknowledged it, so what stood before the first one that is there has
been delivered. What is in there may have been, and is delivered again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from handrail_propagation.spool import segments as names
from handrail_propagation.spool.ledger import FOLDER, Entry, Ledger, Totals, read
from handrail_propagation.spool.reader import Cursor, SegmentFile, segments
from handrail_propagation.spool.reader import read as records
from handrail_propagation.spool.record import Kind, Record, scan

_log = logging.getLogger(__name__)


def load_all(folder: Path) -> list[Ledger]:
    """Return the ledgers of all destinations that this spool has been forwarded to."""
    return list(by_file(folder).values())


def by_file(folder: Path) -> dict[Path, Ledger]:
    """Return each ledger's file and what is in it; one that cannot be read names its file as its destination."""
    try:
        paths = sorted(path for path in (folder / FOLDER).iterdir() if path.suffix == ".json")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found: dict[Path, Ledger] = {}
    unreadable: list[Path] = []
    for path in paths:
        try:
            ledger = read(path)
        except ValueError:
            _log.error("%s is not readable: what is still in the spool will be delivered again", path)
            unreadable.append(path)
        else:
            if ledger is not None:
                found[path] = ledger
    others = list(found.values())
    found.update({path: _rebuild(folder, path.stem, others) for path in unreadable})
    return dict(sorted(found.items()))


def _rebuild(folder: Path, destination: str, others: Sequence[Ledger]) -> Ledger:
    present = segments(folder)
    writers = {
        writer: entry
        for writer, files in present.items()
        if (entry := _entry(folder, writer, files)) is not None
    }
    return Ledger(destination, writers, _finished(others, present))


def _entry(folder: Path, writer: int, files: list[SegmentFile]) -> Entry | None:
    """Return what has been delivered for certain; `None` for nothing, or where nothing can be told."""
    first = files[0]
    if first.index == 1:
        return None
    for damaged, item in enumerate(records(first)):
        if isinstance(item, Record):
            sequence = max(item.sequence - 1 - damaged, 0)
            return Entry(Cursor(first.index, 0, sequence), opens=_carried(folder, writer))
    return None


def _carried(folder: Path, writer: int) -> int:
    """Return how many spans were open at the end of the segments that are deleted."""
    try:
        data = names.carried_path(folder, writer).read_bytes()
    except FileNotFoundError:
        return 0
    found = scan(data, writer=writer)
    return sum(isinstance(item, Record) and item.kind is Kind.SPAN_START for item in found)


def _finished(others: Sequence[Ledger], present: dict[int, list[SegmentFile]]) -> Totals:
    """A writer of which nothing is left is finished at all destinations: another one's ledger knows of it."""
    if not others:
        return Totals()
    copy = others[0].copy()
    for writer in others[0].writers.keys() - present.keys():
        copy.finish(writer)
    return copy.finished
