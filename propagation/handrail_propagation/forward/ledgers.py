"""The ledgers that a forwarder starts from, when destinations were added, changed or given up since the last one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from handrail_propagation.spool.files import Files
from handrail_propagation.spool.files import is_full as full_disk
from handrail_propagation.spool.ledger import Entry, Ledger, path_of
from handrail_propagation.spool.rebuilt import by_file

_log = logging.getLogger(__name__)
_GIVEN_UP: Final = ".given-up"


def ledgers_for(folder: Path, destinations: Sequence[str], files: Files) -> list[Ledger]:
    """Return each destination's ledger.

    A new destination begins with what has not been delivered everywhere yet. The ledger of a destination that is not
    named any more is put aside: nothing waits for it. On a full disk that is left to the next forwarder: this one has
    to make room.
    """
    known = by_file(folder)
    furthest_behind = _furthest_behind(list(known.values()))
    ledgers = []
    is_full = False
    for name in destinations:
        ledger = known.pop(path_of(folder, name), None)
        is_new = ledger is None
        if ledger is None:
            ledger = furthest_behind.copy()
        ledger.destination = name  # one that could not be read has the name of its file
        if is_new and not _saved(ledger, folder, files):
            is_full = True
        ledgers.append(ledger)
    if is_full:
        return ledgers
    for path, given_up in known.items():
        _log.warning(
            "%s is no destination of %s any more: its ledger is put aside, and what it has not acknowledged will "
            "not be kept for it",
            given_up.destination,
            folder,
        )
        files.rename(path, path.with_suffix(_GIVEN_UP))
    return ledgers


def _saved(ledger: Ledger, folder: Path, files: Files) -> bool:
    """Save a new ledger; return whether there was room for it. Delivery makes some, and it is saved then."""
    try:
        ledger.save(folder, files)
    except OSError as error:
        if not full_disk(error):
            raise
        _log.warning("%s: the disk is full, the ledger of %s is not saved yet", folder, ledger.destination)
        return False
    return True


def _furthest_behind(ledgers: list[Ledger]) -> Ledger:
    if not ledgers:
        return Ledger("")
    merged = replace(max(ledgers, key=lambda ledger: ledger.finished.quarantined), declined=0)
    merged.writers = {
        writer: min(
            (ledger.writers.get(writer, Entry()) for ledger in ledgers),
            key=lambda entry: (entry.cursor.sequence, -entry.quarantined),
        )
        for writer in {writer for ledger in ledgers for writer in ledger.writers}
    }
    return merged
