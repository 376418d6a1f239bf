"""All destinations of one spool: which process forwards it, a thread for each destination, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from handrail_propagation.forward.cleaner import Cleaner
from handrail_propagation.forward.destination import Destination
from handrail_propagation.forward.ledgers import ledgers_for
from handrail_propagation.forward.quarantine import Quarantine
from handrail_propagation.forward.sending import Stopped
from handrail_propagation.forward.shipper import Shipper
from handrail_propagation.spool.files import FILES, Files, give_to_owner
from handrail_propagation.spool.ledger import path_of

_log = logging.getLogger(__name__)

LOCK: Final = "forwarder.lock"
LOOK: Final = 0.1
"""Seconds between two looks at a folder in which nothing moves."""
PAUSE: Final = 0.5
"""Seconds until what has come behind a request is sent: as much as possible goes into one."""
_RETRY_SPOOL: Final = 5.0
_COMPLAIN_EVERY: Final = 60.0
ELECTING: Final = threading.Lock()
"""Held while a lock is taken: no process may be forked then, as it would keep the lock."""


class Forwarder:
    """Forwards the spool `folder` to `destinations`; `elect` says whether this process is the one that does."""

    def __init__(self, folder: Path, destinations: Sequence[Destination], *, files: Files = FILES) -> None:
        self.folder = folder
        self.destinations = list(destinations)
        self.shippers: list[Shipper] = []
        self._files = files
        self._stop = threading.Event()
        self._wake = threading.Condition()
        self._asked = 0
        """How many times somebody has asked for everything to be sent."""
        self._final = self._once = False
        self._threads: list[threading.Thread] = []
        self._lock: int | None = None
        self._cleaner: Cleaner | None = None

    def elect(self) -> bool:
        """Take the folder's lock, and with it the work; return whether this process has it now.

        The lock ends with the process, however that ends. Raises `OSError` when the folder cannot be used.
        """
        if self._lock is not None:
            return True
        with ELECTING:
            descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            except BaseException:
                os.close(descriptor)
                raise
            self._lock = descriptor
        if not self._is_ours():  # somebody has deleted the file between the two calls
            self.release()
            return False
        give_to_owner(descriptor, self.folder)
        try:
            self._prepare()
        except BaseException:
            self.release()
            raise
        return True

    def start(self, *, once: bool = False) -> None:
        """Forward from now on, in threads of this process, as soon as it is elected.

        `once`: the threads end when nothing is left in the folder. Spans of processes that are gone are ended, unless
        their parent may still do so: that is waited for.
        """
        self._once = once
        self._threads = [self._thread(self._elect_and_follow)]
        self._threads[0].start()

    @property
    def is_running(self) -> bool:
        """Whether a thread is at work."""
        return any(thread.is_alive() for thread in self._threads)

    def flush(self, timeout: float, *, final: bool = False) -> bool:
        """Return when everything that is in the spool now has been delivered everywhere, or after `timeout` seconds.

        Returns whether it has been; only good where `is_elected`. `final`: this process ends and has no children any
        more, so open spans of those are ended as well.
        """
        deadline = time.monotonic() + timeout
        with self._wake:
            self._final = self._final or final
            self._asked += 1
            asked = self._asked
            self._wake.notify_all()
            while True:
                if self.shippers and all(shipper.answered >= asked for shipper in self.shippers):
                    return True
                if not self._wake.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    return False

    def stop(self, timeout: float = 5.0) -> None:
        """Stop after the request that is under way, and let go of the folder; what is left stays in it."""
        self._stop.set()
        with self._wake:
            self._wake.notify_all()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(deadline - time.monotonic(), 0.0))
        if not self.is_running:  # else somebody else would begin while a request of ours is still under way
            self.release()

    def release(self) -> None:
        """Let go of the folder's lock; in a forked child, without stopping the parent from holding it."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = None

    @property
    def is_elected(self) -> bool:
        """Whether this process forwards the folder."""
        return self._lock is not None

    def _is_ours(self) -> bool:
        """Whether the lock is the folder's: another process takes a new one where somebody has deleted the file."""
        if self._lock is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._lock), os.stat(self.folder / LOCK))
        except OSError:
            return False

    def _prepare(self) -> None:
        quarantine = Quarantine(self.folder, self._files)
        self._cleaner = Cleaner(self.folder, quarantine, self._files)
        for shipper in self.shippers:  # of an earlier election: the folder may have been made anew since
            if not path_of(self.folder, shipper.ledger.destination).exists():
                shipper.ledger.save(self.folder, self._files)
        ledgers = ledgers_for(self.folder, [each.name for each in self.destinations], self._files)
        self.shippers = [
            Shipper(
                self.folder,
                destination,
                ledger,
                stop=self._stop,
                quarantine=quarantine,
                files=self._files,
                saved=self._clean,
                is_ours=self._is_ours,
            )
            for destination, ledger in zip(self.destinations, ledgers, strict=True)
        ]

    def _clean(self) -> None:
        if self._cleaner is not None:
            self._cleaner.clean(self.shippers)

    def _elect_and_follow(self) -> None:
        while self._wait_for_election():
            others = [self._thread(partial(self._follow, shipper)) for shipper in self.shippers[1:]]
            self._threads += others
            for thread in others:
                thread.start()
            self._follow(self.shippers[0])
            if self._stop.is_set() or self._is_ours():
                return
            for thread in others:
                thread.join()
            _log.error("%s was deleted: who forwards is elected anew", self.folder / LOCK)
            self.release()

    def _wait_for_election(self) -> bool:
        """Return when this process is elected; `False` when it is to stop."""
        complained = 0.0
        while not self._stop.is_set():
            try:
                if self.elect():
                    return True
            except OSError as error:
                if time.monotonic() >= complained:
                    complained = time.monotonic() + _COMPLAIN_EVERY
                    _log.error("the spool %s cannot be forwarded: %s", self.folder, error)
            self._stop.wait(1.0)
        return False

    def _thread(self, target: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=target, name="handrail-forward", daemon=True)

    def _follow(self, shipper: Shipper) -> None:
        while not self._stop.is_set() and self._is_ours():
            asked = self._asked
            patient = not (self._final or self._once)
            try:
                idle = patient and asked <= shipper.answered and shipper.is_quiet
                moved = not idle and shipper.round(patient=patient)
            except Stopped:
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, what is in the spool must go on being sent
                expected = isinstance(error, OSError)
                _log.error(
                    "the spool %s cannot be forwarded now: %r", self.folder, error, exc_info=not expected
                )
                self._stop.wait(_RETRY_SPOOL)
                continue
            if self._once and not moved and not shipper.waits_for_the_dead:
                return
            if asked > shipper.answered and shipper.unreadable:
                self._stop.wait(1.0)
                continue
            with self._wake:
                if asked > shipper.answered:
                    shipper.answered = asked
                    self._wake.notify_all()
                if self._asked <= shipper.answered and not (self._once and moved):
                    self._wake.wait(LOOK if idle or not shipper.has_moved else PAUSE)
