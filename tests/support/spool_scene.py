"""A spool without a worker: somebody who records into it, and a destination in this process."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from handrail_propagation import conventions as names
from handrail_propagation.forward.outcome import Accepted, Outcome
from handrail_propagation.forward.wire import Signal
from handrail_propagation.spool.identity import Identity
from handrail_propagation.spool.record import Kind
from handrail_propagation.spool.writer import Writer

TRACE = b"t" * 16


class There:
    """A destination in this process: keeps what it accepts, and answers as it is told."""

    signals = frozenset(Signal)

    def __init__(self, answer: Callable[[Signal, list[str]], Outcome] | None = None) -> None:
        self.spans: list[Span] = []
        self.events: list[LogRecord] = []
        self.requests: list[ExportTraceServiceRequest | ExportLogsServiceRequest] = []
        self._answer = answer or (lambda signal, items: Accepted())

    def send(self, signal: Signal, body: bytes) -> Outcome:
        if signal is Signal.TRACES:
            traces = ExportTraceServiceRequest.FromString(body)
            spans = [
                span for group in traces.resource_spans for scope in group.scope_spans for span in scope.spans
            ]
            outcome = self._answer(signal, [span.name for span in spans])
            if isinstance(outcome, Accepted):
                self.requests.append(traces)
                self.spans += spans[outcome.rejected :]
        else:
            logs = ExportLogsServiceRequest.FromString(body)
            events = [
                log for group in logs.resource_logs for scope in group.scope_logs for log in scope.log_records
            ]
            outcome = self._answer(signal, [event.event_name for event in events])
            if isinstance(outcome, Accepted):
                self.requests.append(logs)
                self.events += events[outcome.rejected :]
        return outcome

    def close(self) -> None:
        pass


class Scene:
    """A spool with one writer, and what is forwarded from it; `ids` makes span ids of so many bytes.

    The writer is a process of another boot: nobody can be asked whether it lives, so its lock decides.
    """

    def __init__(
        self,
        folder: Path,
        *,
        pid: int = 1,
        parent_pid: int = 0,
        ids: Callable[[int], bytes] = secrets.token_bytes,
        **options: int,
    ) -> None:
        self.folder = folder
        self._ids = ids
        self.writer = Writer(
            folder, Identity(pid=pid, boot_id="another", parent_pid=parent_pid).encode(), **options
        )

    def span(self, name: str, *, ended: bool = True, key: bytes | None = None, **extra: object) -> bytes:
        """Record a span's start, and its end; return its id."""
        span = Span(trace_id=TRACE, span_id=key or self._ids(8), name=name, start_time_unix_nano=1000)
        if key is None:
            self.writer.append(Kind.SPAN_START, span.SerializeToString(), origin=origin())
        if ended:
            self.end(span.span_id, name, **extra)
        return span.span_id

    def end(self, key: bytes, name: str, *, abandoned: str = "") -> None:
        """Record a span's end, as its own process or as the worker's main process."""
        span = Span(
            trace_id=TRACE, span_id=key, name=name, start_time_unix_nano=1000, end_time_unix_nano=2000
        )
        if abandoned:
            span.attributes.append(KeyValue(key=names.ABANDONED))
            span.attributes[-1].value.bool_value = True
            span.attributes.append(KeyValue(key=names.ABANDONED_REASON))
            span.attributes[-1].value.string_value = abandoned
        self.writer.append(Kind.SPAN_END, span.SerializeToString(), origin=origin())

    def event(self, name: str) -> None:
        """Record a log-based event."""
        self.writer.append(Kind.LOG, LogRecord(event_name=name).SerializeToString(), origin=origin())


def origin(service: str = "here") -> bytes:
    """An origin record's payload."""
    resource = Resource(attributes=[KeyValue(key="service.name")])
    resource.attributes[0].value.string_value = service
    scope = ScopeSpans(scope=InstrumentationScope(name="handrail", version="1"), schema_url="https://inner")
    return ResourceSpans(
        resource=resource, scope_spans=[scope], schema_url="https://outer"
    ).SerializeToString()


def record_ids(items: list[Span] | list[LogRecord]) -> list[str]:
    """The record ids on what has arrived."""
    return [
        pair.value.string_value for item in items for pair in item.attributes if pair.key == names.RECORD_ID
    ]
