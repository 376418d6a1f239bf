"""The account of a spool as metrics; the process that forwards it reports them, so that nothing is counted twice."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from handrail_propagation import conventions as names
from handrail_propagation.spool.accounting import Account, account

_log = logging.getLogger(__name__)
_FRESH: Final = 1.0
"""Seconds in which one account serves all instruments of a collection."""


def observe(provider: MeterProvider, folder: Path, reports: Callable[[], bool]) -> None:
    """Register the instruments for the spool `folder`; they say nothing while `reports` says no."""
    from importlib.metadata import version

    meter = provider.get_meter("handrail", version("handrail"))
    reading = _Reading(folder, reports)
    counters: tuple[tuple[str, Callable[[Account], int], str], ...] = (
        (names.METRIC_SPOOL_DELIVERED, lambda found: found.total.delivered, "Records that have arrived."),
        (
            names.METRIC_SPOOL_QUARANTINED,
            lambda found: found.total.quarantined,
            "Records that are damaged, missing or refused for good.",
        ),
        (
            names.METRIC_SPOOL_DROPPED,
            lambda found: found.total.dropped,
            "What was not recorded, for want of room.",
        ),
    )
    for name, value, description in counters:
        meter.create_observable_counter(name, [reading.of(value)], unit="{record}", description=description)
    meter.create_observable_gauge(
        names.METRIC_SPOOL_PENDING,
        [reading.of(lambda found: found.total.pending)],
        unit="{record}",
        description="Records that wait for a destination.",
    )
    meter.create_observable_gauge(
        names.METRIC_SPOOL_SIZE,
        [reading.of(lambda found: found.bytes)],
        unit="By",
        description="Segments on disk.",
    )
    meter.create_observable_gauge(
        names.METRIC_SPOOL_OLDEST,
        [reading.of(_age)],
        unit="s",
        description="Age of the oldest record that waits for a destination.",
    )


class _Reading:
    """One look at the folder for all instruments."""

    def __init__(self, folder: Path, reports: Callable[[], bool]) -> None:
        self._folder = folder
        self._reports = reports
        self._found: Account | None = None
        self._at = 0.0

    def of(
        self, value: Callable[[Account], int | float]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """Return a callback that observes one number."""

        def callback(options: CallbackOptions) -> Iterable[Observation]:
            found = self._account()
            return [] if found is None else [Observation(value(found))]

        return callback

    def _account(self) -> Account | None:
        if not self._reports():
            return None
        if self._found is None or time.monotonic() - self._at > _FRESH:
            try:
                self._found = account(self._folder)
            except OSError as error:
                _log.warning("the spool %s cannot be read: %s", self._folder, error)
                return None
            self._at = time.monotonic()
        return self._found


def _age(found: Account) -> float:
    return max(time.time() - found.oldest_pending / 1e9, 0.0) if found.oldest_pending else 0.0
