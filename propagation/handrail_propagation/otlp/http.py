"""OpenTelemetry's OTLP/HTTP exporters with this package's encoder in them, and nothing else changed.

    from handrail_propagation.otlp.http import OTLPSpanExporter

They read the same `OTEL_EXPORTER_OTLP_*` variables, take the same arguments and use the same transport.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from opentelemetry.exporter.otlp.proto.http import _log_exporter as stock_logs
from opentelemetry.exporter.otlp.proto.http import trace_exporter as stock_spans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from handrail_propagation.otlp.requests import encode_logs, encode_spans


class Encoded:
    """An export request that is bytes already, for code that wants to serialise it."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def SerializeToString(self) -> bytes:
        """Return the bytes."""
        return self._content

    SerializePartialToString = SerializeToString


def _with(method: Any, **names: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return `method` with some of the names that it finds in its module standing for something else.

    The rest of the stock `export` (limits, retries, its own metrics) stays what the installed version has.
    """
    return FunctionType(
        method.__code__,
        {**method.__globals__, **names},
        method.__name__,
        method.__defaults__,
        method.__closure__,
    )


_export_spans = _with(
    stock_spans.OTLPSpanExporter.export, encode_spans=lambda spans: Encoded(encode_spans(spans))
)
_export_logs = _with(stock_logs.OTLPLogExporter.export, encode_logs=lambda batch: Encoded(encode_logs(batch)))


class OTLPSpanExporter(stock_spans.OTLPSpanExporter):
    """Exports spans over OTLP/HTTP; a drop-in for the class of the same name in OpenTelemetry."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans; return whether they were taken."""
        result: SpanExportResult = _export_spans(self, spans)
        return result


class OTLPLogExporter(stock_logs.OTLPLogExporter):
    """Exports log records over OTLP/HTTP; a drop-in for the class of the same name in OpenTelemetry."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Send the log records; return whether they were taken."""
        result: LogRecordExportResult = _export_logs(self, batch)
        return result
