"""One export on its way in, whatever the protocol: checked, then handed to the raw log.

Nothing is stored that is not an OTLP request, and an empty request is acknowledged without being stored.
"""

from __future__ import annotations

from concurrent.futures import Future

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness.store.base import Encoding, Kind
from handrail_harness.store.rows import decode
from handrail_harness.store.store import Store


def take(store: Store, kind: Kind, encoding: Encoding, body: bytes) -> Future[int]:
    """Check an export and queue it; the future is done when it is durable (see `Store.append`).

    Raises `MalformedOTLP` when the body is not a request of this kind.
    """
    if kind is Kind.TRACES:
        traces = decode(encoding, body, ExportTraceServiceRequest)
        empty = not any(scope.spans for group in traces.resource_spans for scope in group.scope_spans)
    elif kind is Kind.LOGS:
        logs = decode(encoding, body, ExportLogsServiceRequest)
        empty = not any(scope.log_records for group in logs.resource_logs for scope in group.scope_logs)
    else:
        empty = not decode(encoding, body, ExportMetricsServiceRequest).resource_metrics
    if empty:
        done: Future[int] = Future()
        done.set_result(0)
        return done
    return store.append(kind, encoding, body)
