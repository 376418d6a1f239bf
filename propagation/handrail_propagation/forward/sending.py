"""Puts requests through to one destination: tried again, halved, or told what will never be taken."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from handrail_propagation.forward.destination import Destination
from handrail_propagation.forward.outcome import Accepted, Declined, Later, Refused
from handrail_propagation.forward.quarantine import Quarantine
from handrail_propagation.forward.retry import Backoff
from handrail_propagation.forward.wire import Item, Signal, encode

_log = logging.getLogger(__name__)

DECLINED_FOR: Final = 300.0
"""Seconds until a destination that takes no logs is asked again."""
_COMPLAIN_EVERY: Final = 60.0


class Stopped(Exception):
    """The forwarder is to stop, or another one is elected: what is not acknowledged is sent next time."""


class Sending:
    """Sends to one destination for as long as it takes, by one thread.

    `waits` is called before each wait; `is_ours` says whether this process still is the forwarder.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        stop: threading.Event,
        quarantine: Quarantine,
        waits: Callable[[], None],
        is_ours: Callable[[], bool],
    ) -> None:
        self.trouble = ""
        """Why the last attempt did not go through; empty when it did."""
        self.declined: int = 0
        """Log records that the destination has no place for, since this was last set to 0."""
        self._destination = destination
        self._stop = stop
        self._quarantine = quarantine
        self._waits = waits
        self._is_ours = is_ours
        self._declined_until = 0.0
        self._complained = 0.0

    def send(self, signal: Signal, items: list[Item]) -> list[int]:
        """Return when all items have arrived or never will; the writers of those that never will, one for each.

        Raises `Stopped`.
        """
        body = encode(items)
        backoff = Backoff()
        while True:
            if self._declines(signal):
                self.declined += len(items)
                return []
            if not self._is_ours():
                raise Stopped
            match self._destination.transport.send(signal, body):
                case Accepted(rejected, message):
                    self.trouble = ""
                    return self._refuse(items, min(rejected, len(items)), message) if rejected else []
                case Declined(reason) if self._takes_spans():
                    _log.warning("%s: takes no logs; events stay on their spans there", reason)
                    self._declined_until = time.monotonic() + DECLINED_FOR
                case Declined(reason):
                    self._wait(backoff, reason, None)  # the address is wrong, and not the signal
                case Refused(reason):
                    if len(items) == 1:
                        return self._refuse(items, 1, reason)
                    half = len(items) // 2
                    return self.send(signal, items[:half]) + self.send(signal, items[half:])
                case Later(reason, after):
                    self._wait(backoff, reason, after)

    def _wait(self, backoff: Backoff, reason: str, after: float | None) -> None:
        self.trouble = reason
        delay = backoff.next(after)
        now = time.monotonic()
        if now >= self._complained:
            self._complained = now + _COMPLAIN_EVERY
            _log.warning("forwarding waits, nothing is lost: %s; next attempt in %.1f s", reason, delay)
        self._waits()
        if self._stop.wait(delay):
            raise Stopped

    def _takes_spans(self) -> bool:
        """Whether an export of no spans is accepted there."""
        transport = self._destination.transport
        return Signal.TRACES in transport.signals and isinstance(transport.send(Signal.TRACES, b""), Accepted)

    def _declines(self, signal: Signal) -> bool:
        return signal is Signal.LOGS and time.monotonic() < self._declined_until

    def _refuse(self, items: list[Item], rejected: int, reason: str) -> list[int]:
        self._quarantine.refused(self._destination.name, items, rejected, reason)
        # Which of them is not said: the last ones are as good as any, and the sum is right
        return [writer for _, _, writer, *_ in items[-rejected:]]
