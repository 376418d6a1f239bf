"""A worker without tracing, as another team's might be: headers are neither read nor written, nothing is exported."""

from __future__ import annotations

from typing import Any

from opentelemetry.instrumentation.celery import CeleryInstrumentor

from handrail_propagation import uninstrument


def remove() -> None:
    """Take our instrumentation and the stock one out of this process, and keep both out."""
    from handrail_propagation.instrumentor import HandrailCeleryInstrumentor

    uninstrument()
    kinds: tuple[Any, ...] = (HandrailCeleryInstrumentor, CeleryInstrumentor)
    for kind in kinds:
        instrumentor = kind()
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()
        kind._instrument = _nothing


def _nothing(self: Any, **_: Any) -> None:
    """Stands where an instrumentor switches itself on."""
