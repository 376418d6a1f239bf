"""What the parts of the store hand to one another: places in the raw log, records, damage, the interface.

The Parquet tier will stand behind `SpanStore`, too; nothing in here knows SQLite, files or OTLP's encoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple, Protocol

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness.spans import LogEvent, Span, TraceSummary


class Kind(IntEnum):
    """Which OTLP signal a record holds. The numbers are on disk: never change one."""

    TRACES = 1
    LOGS = 2
    METRICS = 3


class Encoding(IntEnum):
    """How a record's payload is encoded: as it came over the wire. The numbers are on disk."""

    PROTOBUF = 0
    JSON = 1


class Position(NamedTuple):
    """A place in the raw log: segment number (1..) and byte offset in it. Later places compare greater."""

    segment: int
    offset: int


START = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Record:
    """One export request as it was acknowledged. `next` is the place after it."""

    kind: int
    encoding: int
    sequence: int
    received_unix_nano: int
    payload: bytes
    at: Position
    next: Position


DamageReason = Literal["header", "payload", "tail", "unreadable"]


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of the raw log that could not be used, and why. It is skipped, counted and shown.

    `header`, `payload`: bits differ from what was written; `tail`: the record is cut off; `unreadable`: the
    record is whole but not an OTLP request. `length` in bytes.
    """

    reason: DamageReason
    at: Position
    length: int
    next: Position

    def __str__(self) -> str:
        what = {
            "header": "damaged record header",
            "payload": "damaged record",
            "tail": "record cut off",
            "unreadable": "record is not an OTLP request",
        }[self.reason]
        return f"segment {self.at.segment}, byte {self.at.offset}: {what}, {self.length} bytes skipped"


class SpanStore(Protocol):
    """Where indexed spans are read from. Nothing is merged, mended or de-duplicated (DESIGN D2)."""

    @property
    def position(self) -> Position:
        """The place in the raw log up to which everything is in here."""
        ...

    def insert(self, items: Sequence[Record | Damage]) -> None:
        """Add records in their order and move `position` behind the last one, both or neither."""
        ...

    def trace_request(self, trace_id: str) -> ExportTraceServiceRequest:
        """Return the spans of one trace as one OTLP request, exactly as they were exported."""
        ...

    def log_request(self, trace_id: str) -> ExportLogsServiceRequest:
        """Return the log-based events of one trace as one OTLP request."""
        ...

    def spans(self, trace_id: str) -> Sequence[Span]:
        """Return the spans of one trace in the order of their arrival; empty when there are none."""
        ...

    def events(self, trace_id: str) -> Sequence[LogEvent]:
        """Return the log-based events of one trace in the order of their arrival."""
        ...

    def traces_of_run(self, run_id: str) -> Sequence[str]:
        """Return the ids of the traces that have a span with this `agent.run.id`, oldest first."""
        ...

    def traces_of_root(self, root_id: str) -> Sequence[str]:
        """Return the ids of the traces that have a span with this `agent.message.root_id`, oldest first."""
        ...

    def traces(self, limit: int = 20) -> Sequence[TraceSummary]:
        """Return the latest traces, newest first."""
        ...

    def close(self) -> None:
        """Release files."""
        ...
