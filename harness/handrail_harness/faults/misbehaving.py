"""What misbehaving destinations have in common, whatever the transport: behaviours in turn, and what is kept."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import MutableSequence, Sequence
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from handrail_harness.faults.behaviour import ACCEPT, Behaviour
from handrail_harness.otlp import parse_protobuf
from handrail_harness.stack.sink import Collected


class Misbehaving(Collected):
    """Treats each request as it is told; a request's path is that of OTLP/HTTP, whatever the transport.

    `behaviour` holds for every request from now on, `then(...)` for the next ones. `requests` counts all exports,
    taken or not; `answered` has the behaviour that each one met, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.behaviour = ACCEPT
        self.answered: list[Behaviour] = []
        self._next: deque[Behaviour] = deque()
        self._closing = threading.Event()

    @property
    def requests(self) -> int:
        """How many exports have arrived."""
        return len(self.answered)

    def then(self, *behaviours: Behaviour) -> None:
        """Treat the next requests so, one each."""
        self._next.extend(behaviours)

    def behave(self, path: str, body: bytes) -> Behaviour:
        """Return how to treat one request."""
        try:
            return self._next.popleft()
        except IndexError:
            return self.behaviour

    def _treat(self, path: str, body: bytes) -> tuple[Behaviour, bytes]:
        """Keep what is to be kept of a request, and wait; return its behaviour and the response of a success."""
        now = self.behave(path, body)
        self.answered.append(now)
        content = b""
        if now.rejects:
            body, content = _rejected(path, body, now.rejects)
        if now.takes:
            self.take(path, body)
        if now.delay:
            self._closing.wait(None if now.delay == float("inf") else now.delay)
        return now, content if now.body is None else now.body

    def _is_answered(self, now: Behaviour) -> bool:
        """Whether anything is to be said: not by one who hangs up, nor after a wait that the end has cut short."""
        return now.answers and not (now.delay and self._closing.is_set())


def _rejected(path: str, body: bytes, count: int) -> tuple[bytes, bytes]:
    """Take the first `count` records out of a request; return what is left of it, and the answer."""
    reason = "rejected on purpose"
    if path.endswith("/v1/logs"):
        logs = parse_protobuf(body, ExportLogsServiceRequest)
        lists = [scope.log_records for group in logs.resource_logs for scope in group.scope_logs]
        success = ExportLogsPartialSuccess(rejected_log_records=_drop(lists, count), error_message=reason)
        answer = ExportLogsServiceResponse(partial_success=success)
        return logs.SerializeToString(), answer.SerializeToString()
    traces = parse_protobuf(body, ExportTraceServiceRequest)
    spans = [scope.spans for group in traces.resource_spans for scope in group.scope_spans]
    rejected = ExportTracePartialSuccess(rejected_spans=_drop(spans, count), error_message=reason)
    response = ExportTraceServiceResponse(partial_success=rejected)
    return traces.SerializeToString(), response.SerializeToString()


def _drop(lists: Sequence[MutableSequence[Any]], count: int) -> int:
    dropped = 0
    for records in lists:
        some = min(count - dropped, len(records))
        del records[:some]
        dropped += some
    return dropped
