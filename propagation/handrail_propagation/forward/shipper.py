"""One destination: reads every writer's records, has them sent in order, and keeps its ledger.

A batch is settled when the destination has acknowledged all of it, and the ledger says so only after that: a kill in
between sends it again, under the same record ids.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from handrail_propagation.forward import carry
from handrail_propagation.forward.death import Deaths
from handrail_propagation.forward.destination import Destination
from handrail_propagation.forward.life import has_parent, identity_of, is_gone, last_sign_of_life
from handrail_propagation.forward.quarantine import Quarantine
from handrail_propagation.forward.sending import Sending, Stopped
from handrail_propagation.forward.stream import Stream, Unreadable
from handrail_propagation.forward.watch import Watch
from handrail_propagation.forward.wire import Item, Origin, Signal
from handrail_propagation.spool.files import FILES, Files, is_full
from handrail_propagation.spool.identity import Identity
from handrail_propagation.spool.ledger import Entry, Ledger
from handrail_propagation.spool.reader import SegmentFile, segments
from handrail_propagation.spool.segments import path_of

_log = logging.getLogger(__name__)

BATCH_ITEMS: Final = 2000
SAVE_EVERY: Final = 0.25
"""Seconds between two versions of the ledger on disk while much is sent."""
LOOK_EVERY: Final = 1.0
"""Seconds until a folder in which nothing seems to move is read again as a whole: a death leaves no trace in it."""
_COMPLAIN_EVERY: Final = 60.0


class Shipper:
    """Sends one spool to one destination; used by one thread, `lock` guards what others read.

    `saved` is called each time that the ledger is on disk; `is_ours` says whether this process still is the forwarder.
    """

    def __init__(
        self,
        folder: Path,
        destination: Destination,
        ledger: Ledger,
        *,
        stop: threading.Event,
        quarantine: Quarantine,
        files: Files = FILES,
        saved: Callable[[], None] = lambda: None,
        is_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self.folder = folder
        self.destination = destination
        self.ledger = ledger
        self.lock = threading.Lock()
        self.streams: dict[int, Stream] = {}
        self.saved_writers = dict(ledger.writers)
        """What the ledger on disk says."""
        # By number: an Enum's member is hashed by a method of Python's
        self._wanted = [signal in destination.transport.signals for signal in Signal]
        self._max_bytes = destination.max_bytes
        self._quarantine = quarantine
        self._files = files
        self._saved = saved
        self._is_ours = is_ours
        # What went before may be let go of while it waits
        self._sending = Sending(
            destination, stop=stop, quarantine=quarantine, waits=self._save, is_ours=is_ours
        )
        self._origins: dict[bytes, Origin] = {}
        self._deaths = Deaths()
        for key in ledger.ended:
            self._deaths.ended(key)
        self._batch: tuple[list[Item], list[Item]] = ([], [])
        self._bytes = 0
        self._unsaved = False
        self._saved_at = 0.0
        self._complained_of_file = 0.0
        self.unreadable: set[int] = set()
        """Writers that the last round could not read."""
        self._watch: Watch | None = None
        self._listed: dict[int, int] = {}
        """Writer → the last of its segments whose name was synced."""
        self.answered = 0
        """Of the times that everything was asked for, those that were done."""
        self.has_moved = False
        """Whether the last round has read anything new."""

    def round(self, *, patient: bool = True) -> bool:
        """Send everything that is in the folder now; return whether it was anything.

        `patient`: leave the open spans of a writer that has just died to the worker's main process for a while, even
        if that is this process or nobody. Raises
        `Stopped` when the destination does not take it before the end, and `OSError` when the spool fails.
        """
        self._watch = None
        self.has_moved = False
        watch = Watch(self.folder)
        found = segments(self.folder)
        self._finish(found)
        self.unreadable = set()
        gone = {writer for writer, files in found.items() if self._is_known_gone(writer, files)}
        found = {writer: files for writer, files in found.items() if writer not in self.unreadable}
        if gone:
            # A writer may have gone on to a new segment between the two looks
            again = segments(self.folder)
            gone = {writer for writer in gone if again.get(writer) == found[writer]}
        # What is written from here on is for the next round: nobody's end is seen without its start
        sizes = self._to_read(found, gone)
        before = self.ledger.delivered
        for writer, files in sizes.items():
            self._read(writer, files, alive=writer not in gone)
        gone -= self.unreadable
        due = {key for stream in self.streams.values() for key in stream.verdicts}
        if due:
            self._look_again(gone)
        for item in self._deaths.decide(self.streams.values(), gone, due):
            self._add(Signal.TRACES, item)
        for writer in gone:
            stream = self.streams[writer]
            if not stream.closed:
                self._close(stream, found[writer], patient=patient)
        self._deliver()
        self._save()
        watch.remember(
            {
                files[-1].path: sizes[writer][files[-1]]
                for writer, files in found.items()
                if writer not in gone
            }
        )
        self._watch = watch
        return self.ledger.delivered != before

    def _look_again(self, gone: Collection[int]) -> None:
        """Read what came meanwhile: the start that a verdict is about was there first, but maybe behind our first look.

        Verdicts that come to light only now are for the next round.
        """
        for writer, files in self._to_read(segments(self.folder), gone).items():
            if writer not in gone:
                self._read(writer, files, alive=True)

    def _to_read(
        self, found: Mapping[int, list[SegmentFile]], gone: Collection[int]
    ) -> dict[int, dict[SegmentFile, int]]:
        """Return what there is to read of each writer now, with its size, in the order to read it in: parents first.

        They are measured last. So all that a main process has said of a child's span until then is read before the
        child's own end of it: else that one may be delivered and deleted, and the next forwarder, which reads the other
        one first, ends the span again.
        """
        who = {writer: self._identity(writer, files) for writer, files in found.items()}
        pids = {(one.boot_id, one.pid_namespace, one.pid) for one in who.values()}
        children = {
            writer for writer, one in who.items() if (one.boot_id, one.pid_namespace, one.parent_pid) in pids
        }
        of_children = {writer: {file: file.size() for file in found[writer]} for writer in children}
        now = segments(self.folder) if children else {}  # a parent may have begun a new segment meanwhile
        of_parents = {
            writer: {
                file: file.size()
                for file in sorted({*files, *(now.get(writer, ()) if writer not in gone else ())})
            }
            for writer, files in found.items()
            if writer not in children
        }
        return of_parents | {writer: of_children[writer] for writer in found if writer in children}

    @property
    def trouble(self) -> str:
        """Why the last attempt did not go through; empty when it did."""
        return self._sending.trouble

    @property
    def is_quiet(self) -> bool:
        """Whether another round would find nothing, as far as a few looks at sizes and times tell."""
        return self._watch is not None and self._watch.age < LOOK_EVERY and not self._watch.has_moved()

    def has_closed(self, writer: int) -> bool:
        """Whether the ledger on disk says that a writer is closed; one that is there and that it has not yet is not."""
        entry = self.saved_writers.get(writer)
        return writer not in self.streams if entry is None else entry.closed

    @property
    def waits_for_the_dead(self) -> bool:
        """Whether open spans of writers that are gone are still left to somebody else to end."""
        return any(stream.gone_since is not None and not stream.closed for stream in self.streams.values())

    def _finish(self, found: Mapping[int, object]) -> None:
        """Keep writers only in the totals whose segments are all delivered and deleted."""
        with self.lock:
            for writer in [writer for writer in self.ledger.writers if writer not in found]:
                if self.ledger.writers[writer].closed:
                    self.ledger.finish(writer)
                    self.streams.pop(writer, None)
                    self._unsaved = True

    # --- Reading ----------------------------------------------------------------------------------------------

    def _read(self, writer: int, files: Mapping[SegmentFile, int], *, alive: bool) -> None:
        stream = self.streams[writer]
        if stream.closed or writer in self.unreadable:
            return
        try:
            stream.read(files, self._add, alive=alive)
        except Unreadable as error:
            self._set_aside(writer, error)

    def _is_known_gone(self, writer: int, files: list[SegmentFile]) -> bool:
        try:
            return self._is_gone(writer, files)
        except OSError as error:
            self._set_aside(writer, error)
            return False

    def _set_aside(self, writer: int, error: OSError) -> None:
        """A disk or a file's mode keeps us from a writer's records: they stay, and those of others go on."""
        self.unreadable.add(writer)
        now = time.monotonic()
        if now >= self._complained_of_file:
            self._complained_of_file = now + _COMPLAIN_EVERY
            _log.error("writer %016x cannot be read, its records stay: %s", writer, error)

    def _stream(self, writer: int) -> Stream:
        stream = self.streams.get(writer)
        if stream is None:
            entry = self.ledger.writers.get(writer, Entry())
            stream = Stream(writer, entry, self._origin, self._deaths.ended)
            if not entry.closed:  # else what was open has been ended
                stream.restore(*carry.load(self.folder, writer, self._origin))
            with self.lock:
                self.streams[writer] = stream
        return stream

    def _origin(self, payload: bytes) -> Origin:
        origin = self._origins.get(payload)
        if origin is None:
            if len(self._origins) >= 4096:  # somebody makes a tracer for each call
                self._origins.clear()
            origin = self._origins[payload] = Origin.parse(payload)
        return origin

    def _identity(self, writer: int, files: list[SegmentFile]) -> Identity:
        stream = self._stream(writer)
        if stream.identity is None:
            stream.identity = identity_of(files)
        return stream.identity

    def _is_gone(self, writer: int, files: list[SegmentFile]) -> bool:
        identity, stream = self._identity(writer, files), self.streams[writer]
        if stream.closed and files[-1].index > stream.entry.cursor.index:
            stream.reopen()
        return stream.closed or is_gone(files, identity)

    def _close(self, stream: Stream, files: list[SegmentFile], *, patient: bool) -> None:
        """End the spans that a writer left open, unless somebody else is likely to do so yet."""
        stream.finish()
        if stream.gone_since is None:
            stream.gone_since = time.monotonic()
        if stream.verdicts:
            return  # about a span that a living process may end yet
        if any(
            owner in self.streams and not self.streams[owner].closed for _, owner in stream.spoken.values()
        ):
            return  # what was said of that one is to be read again until it is closed
        if (
            stream.opens
            and stream.death is None
            and not self._deaths.is_over(stream)
            and (patient or has_parent(self._identity(stream.writer, files)))
        ):
            return
        ended = [key for key in (stream.last_end, *stream.opens) if key]
        for item in self._deaths.ends(stream, last_sign_of_life(files)):
            self._add(Signal.TRACES, item)
        with self.lock:
            self.ledger.remember(ended)
        stream.closed = True

    # --- Sending ----------------------------------------------------------------------------------------------

    def _add(self, signal: Signal, item: Item) -> None:
        if not self._wanted[signal]:
            return
        batch = self._batch[signal]
        batch.append(item)
        self._bytes += len(item[1])
        if self._bytes >= self._max_bytes or len(batch) >= BATCH_ITEMS:
            self._deliver()

    def _deliver(self) -> None:
        """Send what has come together, then settle everything that was read."""
        moved = [stream for stream in self.streams.values() if stream.settles]
        self.has_moved = self.has_moved or bool(moved)
        self._sync_read(moved)
        refused: list[int] = []  # of this batch alone: it may be sent anew
        self._sending.declined = 0
        for signal in Signal:
            items = self._batch[signal]
            if items:
                refused += self._sending.send(signal, items)
        self._batch = ([], [])
        self._bytes = 0
        for writer in refused:
            self.streams[writer].quarantined += 1
        with self.lock:
            self.ledger.declined += self._sending.declined
            for stream in moved:
                self._quarantine.damaged(stream.damages)
                stream.damages = []
                stream.settled = self.ledger.writers[stream.writer] = stream.entry
                self._unsaved = True
        if time.monotonic() - self._saved_at >= SAVE_EVERY:
            self._save()

    def _sync_read(self, moved: list[Stream]) -> None:
        """Sync what was read before it is sent: writers sync only what comes before an effect.

        Else a loss of power may take the end of a span back that has arrived, and the span is ended once more.
        """
        is_new = False
        for stream in moved:
            first, last = max(stream.settled.cursor.index, 1), stream.entry.cursor.index
            for index in range(first, last + 1):
                self._files.sync_path(path_of(self.folder, stream.writer, index))
            is_new = is_new or self._listed.get(stream.writer, 0) < last
        if is_new:
            self._files.sync_folder(self.folder)
            self._listed = {stream.writer: stream.entry.cursor.index for stream in self.streams.values()}

    def _save(self) -> None:
        if not self._is_ours():
            raise Stopped
        self._saved_at = time.monotonic()
        if self._unsaved:
            try:
                self._write_ledger()
            except OSError as error:
                if not is_full(error):
                    raise
                # What is acknowledged makes room. A kill right here would count it as missing, but it has arrived
                with self.lock:
                    self.saved_writers = dict(self.ledger.writers)
                self._saved()
                self._quarantine.make_room()
                self._write_ledger()
        self._saved()

    def _write_ledger(self) -> None:
        with self.lock:
            self.ledger.save(self.folder, self._files)
            self.saved_writers = dict(self.ledger.writers)
            self._unsaved = False
