"""What stock OpenTelemetry does under the same faults: BatchSpanProcessor and OTLP with default settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from .workload import GATED


def _exporter(endpoint: str) -> SpanExporter:
    if not endpoint.startswith("grpc:"):
        return OTLPSpanExporter(f"{endpoint}/v1/traces")
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc

    return OverGrpc(endpoint=endpoint.replace("grpc:", "http:"))


class Stock:
    """Spans wait in memory and are exported by a thread, every 5 seconds or 512 at a time."""

    name = "stock"

    def begin(self, folder: Path, endpoint: str) -> Callable[[Callable[[str], Any]], bool]:
        """Set telemetry up in the process that is going to be killed; return what makes a call."""
        provider = self._provider = TracerProvider(
            resource=Resource({"service.name": "faults"}), shutdown_on_exit=False
        )
        provider.add_span_processor(BatchSpanProcessor(_exporter(endpoint)))
        tracer = provider.get_tracer("faults")

        def call(effect: Callable[[str], Any]) -> bool:
            with tracer.start_as_current_span("execute_tool note", attributes=GATED) as span:
                effect(f"{span.get_span_context().span_id:016x}")
            return True

        return call

    def end(self) -> None:
        """Export what waits in memory, for as long as the defaults allow."""
        self._provider.shutdown()

    def settle(self, folder: Path, endpoint: str) -> None:
        """Nothing comes after the death of a process."""
