"""What the tests' process records is seen, and goes nowhere else that nobody has named."""

from __future__ import annotations

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from handrail_harness.testing.collector import Collector
from handrail_propagation import telemetry
from handrail_propagation.config import Config

DESTINATIONS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")


@pytest.mark.parametrize("named", ["", *DESTINATIONS])
def test_exporters_to_nowhere_in_particular_are_held_back(
    named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exporters of `instrument()` rest while tests run, unless a variable says where to; they work again afterwards."""
    for name in (*DESTINATIONS, "OTEL_LOGS_EXPORTER", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    if named:
        monkeypatch.setenv(named, "http://127.0.0.1:1")
    exported, provider = InMemorySpanExporter(), TracerProvider()
    exporting = SimpleSpanProcessor(exported)
    provider.add_span_processor(exporting)
    made = telemetry.Telemetry(
        tracer_provider=provider,
        logger_provider=LoggerProvider(),
        meter_provider=NoOpMeterProvider(),
        config=Config(),
        exporting=[(provider, exporting)],
    )
    monkeypatch.setattr(telemetry, "_current", made)
    collector = Collector()
    collector.watch()
    span = made.tracer.start_span("in a test")
    span.end()
    collector.close()
    made.tracer.start_span("afterwards").end()

    kept = collector.memory.spans(f"{span.get_span_context().trace_id:032x}")
    assert [one.name for one in kept] == ["in a test"]
    seen = [one.name for one in exported.get_finished_spans()]
    assert seen == (["in a test", "afterwards"] if named else ["afterwards"])
