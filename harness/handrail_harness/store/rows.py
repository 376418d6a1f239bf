"""Records of the raw log → the rows of the index. Pure: nothing in here touches a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as WireLog
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from handrail_harness.otlp import MalformedOTLP, Request, parse_json, parse_protobuf
from handrail_harness.store.base import Encoding, Kind, Record
from handrail_propagation import conventions

# SQLite's integers are signed; OTLP's times are not. Only the summary is clamped, the span itself stays
# what it is.
_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Context:
    """The resource and scope that a group of spans or log records was exported under, as wire bytes."""

    resource: bytes
    scope: bytes
    resource_schema: str
    scope_schema: str

    @property
    def digest(self) -> bytes:
        """Identity of the content: 16 bytes."""
        parts = (self.resource, self.scope, self.resource_schema.encode(), self.scope_schema.encode())
        framed = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
        return hashlib.blake2b(framed, digest_size=16).digest()

    def resource_fields(self) -> dict[str, Any]:
        """Return the fields of an OTLP group of one resource."""
        return {"resource": Resource.FromString(self.resource), "schema_url": self.resource_schema}

    def scope_fields(self) -> dict[str, Any]:
        """Return the fields of an OTLP group of one scope."""
        return {"scope": InstrumentationScope.FromString(self.scope), "schema_url": self.scope_schema}


@dataclass(frozen=True, slots=True)
class Row:
    """One span or log event: where it belongs and its wire bytes."""

    trace_id: bytes
    context: Context
    record: int
    data: bytes
    record_id: str | None = None
    """`agent.record.id`, on what came from a spool."""


@dataclass(slots=True)
class TraceRow:
    """What records add to the summary of one trace; `root_start` is the maximum without a root."""

    run_id: str = ""
    root_name: str = ""
    root_start: int = _MAX
    start: int = _MAX
    end: int = 0
    spans: int = 0

    def add(self, span: WireSpan, run_id: str) -> None:
        """Count one span in."""
        start, end = min(span.start_time_unix_nano, _MAX), min(span.end_time_unix_nano, _MAX)
        self.spans += 1
        self.start, self.end = min(self.start, start), max(self.end, end)
        self.run_id = self.run_id or run_id
        if not span.parent_span_id and start < self.root_start:
            self.root_name, self.root_start = span.name, start


@dataclass(slots=True)
class Rows:
    """Everything that some records add to the index.

    A forwarder delivers at least once: what has a record id that was seen before is a copy of that one record.
    `known` says whether the index has an id, in the table of that name.
    """

    spans: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    runs: dict[tuple[str, bytes], int] = field(default_factory=dict)
    roots: dict[tuple[str, bytes], int] = field(default_factory=dict)
    traces: dict[bytes, TraceRow] = field(default_factory=dict)
    known: Callable[[str, str], bool] = lambda table, record_id: False
    _added: set[tuple[str, str]] = field(default_factory=set)

    def add(self, record: Record) -> None:
        """Add one record; raises `MalformedOTLP`, with nothing added, when it is not what it should be."""
        if record.kind == Kind.TRACES:
            request = decode(record.encoding, record.payload, ExportTraceServiceRequest)
            self._add_spans(request, record.sequence)
        elif record.kind == Kind.LOGS:
            logs = decode(record.encoding, record.payload, ExportLogsServiceRequest)
            self._add_events(logs, record.sequence)
        elif record.kind != Kind.METRICS:  # metrics are kept in the raw log, nothing asks for them yet
            raise MalformedOTLP(f"record {record.sequence} has the unknown kind {record.kind}")

    def _add_spans(self, request: ExportTraceServiceRequest, sequence: int) -> None:
        for group in request.resource_spans:
            resource = group.resource.SerializeToString()
            for scoped in group.scope_spans:
                scope = scoped.scope.SerializeToString()
                context = Context(resource, scope, group.schema_url, scoped.schema_url)
                for span in scoped.spans:
                    record_id = attribute_of(span, conventions.RECORD_ID) or None
                    if record_id is not None and self._is_copy("span", record_id):
                        continue
                    self.spans.append(
                        Row(span.trace_id, context, sequence, span.SerializeToString(), record_id)
                    )
                    run_id = attribute_of(span, conventions.RUN_ID)
                    if run_id:
                        self.runs.setdefault((run_id, span.trace_id), sequence)
                    root_id = attribute_of(span, conventions.MESSAGE_ROOT_ID)
                    if root_id:
                        self.roots.setdefault((root_id, span.trace_id), sequence)
                    self.traces.setdefault(span.trace_id, TraceRow()).add(span, run_id)

    def _add_events(self, request: ExportLogsServiceRequest, sequence: int) -> None:
        for group in request.resource_logs:
            resource = group.resource.SerializeToString()
            for scoped in group.scope_logs:
                scope = scoped.scope.SerializeToString()
                context = Context(resource, scope, group.schema_url, scoped.schema_url)
                for log in scoped.log_records:
                    record_id = attribute_of(log, conventions.RECORD_ID) or None
                    if not log.event_name or (record_id is not None and self._is_copy("event", record_id)):
                        continue
                    self.events.append(
                        Row(log.trace_id, context, sequence, log.SerializeToString(), record_id)
                    )

    def _is_copy(self, table: str, record_id: str) -> bool:
        if (table, record_id) in self._added or self.known(table, record_id):
            return True
        self._added.add((table, record_id))
        return False


def decode(encoding: int, payload: bytes, request: type[Request]) -> Request:
    """Decode an export request as it came over the wire; raises `MalformedOTLP`."""
    if encoding == Encoding.JSON:
        return parse_json(payload, request)
    return parse_protobuf(payload, request)


def attribute_of(item: WireSpan | WireLog, name: str) -> str:
    """Return a text attribute of a span or log record, or `""`."""
    found = ""
    for pair in item.attributes:
        if pair.key == name:
            found = pair.value.string_value
    return found


def trace_request(rows: Iterable[tuple[Context, bytes]]) -> ExportTraceServiceRequest:
    """Put wire spans back into one request, in their order; neighbours of one context share a group."""
    request = ExportTraceServiceRequest()
    for context, group in groupby(rows, key=_CONTEXT):
        shared = request.resource_spans.add(**context.resource_fields())
        spans = shared.scope_spans.add(**context.scope_fields()).spans
        for _, data in group:
            spans.add().MergeFromString(data)
    return request


def log_request(rows: Iterable[tuple[Context, bytes]]) -> ExportLogsServiceRequest:
    """Put wire log records back into one request, as `trace_request` does with spans."""
    request = ExportLogsServiceRequest()
    for context, group in groupby(rows, key=_CONTEXT):
        shared = request.resource_logs.add(**context.resource_fields())
        records = shared.scope_logs.add(**context.scope_fields()).log_records
        for _, data in group:
            records.add().MergeFromString(data)
    return request


_CONTEXT = itemgetter(0)
