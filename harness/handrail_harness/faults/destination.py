"""An OTLP/HTTP destination that misbehaves as destinations do: above TCP, where a proxy cannot."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import MutableSequence, Sequence
from types import TracebackType
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
from handrail_harness.stack.sink import Answer, SpanSink


class FaultyDestination(SpanSink):
    """Collects what it takes, and answers as it is told; a context manager.

        with FaultyDestination() as destination:
            destination.behaviour = THROTTLE       # every request from now on
            destination.then(GARBAGE, TWICE)       # the next two; after them as before

    `requests` counts all exports, taken or not; `answered` has the behaviour that each one met, in order.
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

    def answer(self, path: str, body: bytes) -> Answer | None:
        """Treat one request."""
        now = self.behave(path, body)
        self.answered.append(now)
        answer = self._respond(now, path, body)
        if now.delay:
            self._closing.wait(None if now.delay == float("inf") else now.delay)
        return answer if now.answers and not (now.delay and self._closing.is_set()) else None

    def _respond(self, now: Behaviour, path: str, body: bytes) -> Answer:
        content = b""
        if now.rejects:
            body, content = _rejected(path, body, now.rejects)
        if now.takes:
            self.take(path, body)
        headers = {"Retry-After": now.retry_after} if now.retry_after else {}
        headers["Content-Type"] = "application/x-protobuf" if now.body is None else "text/html"
        return Answer(now.status, headers, content if now.body is None else now.body)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        super().__exit__(kind, error, trace)


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
