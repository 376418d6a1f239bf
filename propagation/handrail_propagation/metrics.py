"""Metrics of the messaging conventions: how long sending and processing took, how many messages went each way.

Only made when metrics go somewhere; without a destination nothing is counted and nothing is measured.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.metrics import MeterProvider, NoOpMeterProvider

from handrail_propagation import conventions as names

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bucket boundaries in seconds that the messaging conventions ask for."""


class MessagingMetrics:
    """The four instruments."""

    def __init__(self, provider: MeterProvider, scope: str, version: str) -> None:
        meter = provider.get_meter(scope, version)
        self._operation = meter.create_histogram(
            names.METRIC_OPERATION_DURATION,
            unit="s",
            description="Duration of handing a message to the broker.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._process = meter.create_histogram(
            names.METRIC_PROCESS_DURATION,
            unit="s",
            description="Duration of processing a delivered message.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._sent = meter.create_counter(
            names.METRIC_SENT, unit="{message}", description="Messages handed to the broker."
        )
        self._consumed = meter.create_counter(
            names.METRIC_CONSUMED, unit="{message}", description="Messages delivered to a consumer."
        )

    def sent(self, seconds: float, system: str, destination: str, error: str | None) -> None:
        """Count one publish, a failed one with its error's type."""
        shared = _attributes(names.OPERATION_SEND, system, destination, error)
        self._sent.add(1, shared)
        self._operation.record(seconds, {**shared, names.MESSAGING_OPERATION_TYPE: names.OPERATION_SEND})

    def processed(self, seconds: float, system: str, destination: str, error: str | None) -> None:
        """Count one delivery, a failed one with its error's type."""
        shared = _attributes(names.OPERATION_PROCESS, system, destination, error)
        self._consumed.add(1, shared)
        self._process.record(seconds, shared)


def messaging_metrics(provider: MeterProvider, scope: str, version: str) -> MessagingMetrics | None:
    """Return the instruments, or `None` when the provider records nothing."""
    return None if isinstance(provider, NoOpMeterProvider) else MessagingMetrics(provider, scope, version)


def _attributes(operation: str, system: str, destination: str, error: str | None) -> dict[str, str]:
    attributes = {
        names.MESSAGING_OPERATION_NAME: operation,
        names.MESSAGING_SYSTEM: system,
        names.MESSAGING_DESTINATION_NAME: destination,
    }
    if error is not None:
        attributes[names.ERROR_TYPE] = error
    return attributes
