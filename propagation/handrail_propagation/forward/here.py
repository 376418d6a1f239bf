"""The forwarder of this process: when it begins, which processes have none, what it does when the process ends."""

from __future__ import annotations

import logging
import os
import time
import weakref
from typing import Final

from handrail_propagation.config import Config
from handrail_propagation.forward.destination import destinations
from handrail_propagation.forward.forwarder import ELECTING, Forwarder
from handrail_propagation.spool.process import Spool
from handrail_propagation.spool.rebuilt import load_all

_log = logging.getLogger(__name__)
_LOOK_EVERY: Final = 0.05


class Forwarding:
    """Forwards the spool that this process writes, unless it is a child of a process that does so.

    A worker's main process begins when its pool is there, any other process with its first record. Of all processes
    that share the folder one forwards; the others take over when that one is gone.
    """

    def __init__(self, spool: Spool, config: Config) -> None:
        self.is_worker = False
        """This is a worker's main process: what it forks are pool children."""
        self._spool = spool
        self._timeout = config.flush_timeout
        self._is_child = False
        self._gave_up = False
        self._forwarder: Forwarder | None = None
        # Clients are made, and their modules imported, before any process is forked: half an import is for ever
        self._destinations = destinations(config)
        spool.on_first_record = self._begin_unless_worker
        _all.add(self)

    @classmethod
    def of(cls, spool: Spool, config: Config) -> Forwarding | None:
        """Return what the settings ask for. Raises `ConfigurationError` for unusable destinations."""
        if config.forward == "none":
            return None
        forwarding = cls(spool, config)
        return forwarding if forwarding._destinations else None

    def begin(self) -> None:
        """Start the thread, unless it is there or this is a pool child."""
        if self._forwarder is None and not self._is_child and self._destinations:
            self._forwarder = Forwarder(self._spool.folder, self._destinations)
            self._forwarder.start()

    @property
    def is_elected(self) -> bool:
        """Whether this process is the one that forwards."""
        return self._forwarder is not None and not self._is_child and self._forwarder.is_elected

    def flush(self, timeout: float, *, final: bool = False) -> bool:
        """Return whether what this process has recorded was delivered within `timeout` seconds.

        A pool child does not wait: what it has recorded is safe in the spool. `final`: nothing of this process's
        children is left, so the spans that they left open are ended.
        """
        forwarder = self._forwarder
        if forwarder is None or self._is_child:
            return True
        deadline = time.monotonic() + timeout
        while not forwarder.is_elected:
            if self._is_delivered():
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_EVERY)
        flushed = forwarder.flush(max(deadline - time.monotonic(), 0.0), final=final)
        self._gave_up = final and not flushed
        return flushed

    def finish(self) -> None:
        """Forward what is left, for as long as the settings allow, and stop; what is left then stays in the spool."""
        forwarder = self._forwarder
        if forwarder is None or self._is_child:
            return
        # A worker has tried that already when its pool was gone
        timeout = 0.0 if self._gave_up else self._timeout
        if forwarder.is_elected and not forwarder.flush(timeout, final=True):
            _log.warning(
                "not everything in %s could be forwarded; it stays there until somebody forwards it",
                self._spool.folder,
            )
        forwarder.stop()
        self._forwarder = None

    def _begin_unless_worker(self) -> None:
        if not self.is_worker:
            self.begin()

    def _is_delivered(self) -> bool:
        written = self._spool.written()
        if written is None:
            return True
        writer, sequence = written
        ledgers = load_all(self._spool.folder)
        entries = [ledger.writers.get(writer) for ledger in ledgers]
        return bool(entries) and all(entry and entry.cursor.sequence >= sequence for entry in entries)

    def _forked(self) -> None:
        """In a child: there is no thread here, and the lock is the parent's."""
        if self._forwarder is not None:
            self._forwarder.release()
            self._forwarder = None
            self._is_child = True
        self._is_child = self._is_child or self.is_worker


_all: weakref.WeakSet[Forwarding] = weakref.WeakSet()


def _after_fork() -> None:
    ELECTING.release()
    for forwarding in list(_all):
        forwarding._forked()


os.register_at_fork(before=ELECTING.acquire, after_in_parent=ELECTING.release, after_in_child=_after_fork)
