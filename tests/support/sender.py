"""Tracing of the test process itself, so that the root of a run which it starts is in the store, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from handrail_harness.testing.ids import UnseededIds
from handrail_propagation import instrument, uninstrument
from handrail_propagation.exporters import PerProcessSpanExporter


@contextmanager
def traced_sender(endpoint: str) -> Iterator[None]:
    """Trace what this process sends, to an OTLP endpoint (base URL), without touching the global providers."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    provider = TracerProvider(resource=Resource({"service.name": "sender"}), id_generator=UnseededIds())
    exporter = PerProcessSpanExporter(lambda: OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces"))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
    instrument(tracer_provider=provider, logger_provider=LoggerProvider())
    yield
    uninstrument()
    provider.shutdown()
