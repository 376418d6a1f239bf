"""OpenTelemetry's OTLP/gRPC exporters with this package's encoder in them, which do not hold greenlets up.

from handrail_propagation.otlp.grpc import OTLPSpanExporter
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import grpc
from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as stock_logs
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as stock_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan

from handrail_propagation.otlp.requests import encode_logs, encode_spans

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


class _Stub:
    """An export service that takes requests as bytes, and lets greenlets run while it waits."""

    def __init__(self, channel: grpc.Channel, method: str, response: Any) -> None:
        self._export = channel.unary_unary(method, response_deserializer=response.FromString)

    def Export(self, request: bytes, **options: Any) -> Any:
        """Make the call; where gevent has patched threads, in a native one.

        gRPC waits outside of Python, where no greenlet can switch: the whole worker would wait for the destination.
        """
        monkey = sys.modules.get("gevent.monkey")
        if monkey is None or not monkey.is_module_patched("threading"):
            return self._export(request, **options)
        from gevent import get_hub

        return get_hub().threadpool.apply(self._export, (request,), options)


class OTLPSpanExporter(stock_spans.OTLPSpanExporter):
    """Exports spans over OTLP/gRPC; a drop-in for the class of the same name in OpenTelemetry."""

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()  # type: ignore[no-untyped-call]
        self._client: Any = _Stub(self._channel, TRACES, ExportTraceServiceResponse)

    def _translate_data(self, data: Sequence[ReadableSpan]) -> Any:
        return encode_spans(data)


class OTLPLogExporter(stock_logs.OTLPLogExporter):
    """Exports log records over OTLP/gRPC; a drop-in for the class of the same name in OpenTelemetry."""

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()  # type: ignore[no-untyped-call]
        self._client: Any = _Stub(self._channel, LOGS, ExportLogsServiceResponse)

    def _translate_data(self, data: Sequence[ReadableLogRecord]) -> Any:
        return encode_logs(data)
