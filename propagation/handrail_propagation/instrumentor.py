"""The Celery integration as an OpenTelemetry instrumentor, drop-in for the stock CeleryInstrumentor.

Hooks only: what a message out is lives in `publishing`, what a message in is in `delivery`.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from opentelemetry.instrumentation.celery import CeleryInstrumentor


class HandrailCeleryInstrumentor(CeleryInstrumentor):
    """Traces Celery messages with one PRODUCER span each and one CONSUMER span per delivery."""

    # BaseInstrumentor keeps one instance per class in this attribute, and a subclass would find its parent's.
    _instance = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def _instrument(self, **kwargs: Any) -> None:
        pass

    def _uninstrument(self, **kwargs: Any) -> None:
        pass

    def adopt(self, app: Celery) -> None:
        """Take over an app that has already sent or run something."""
