"""What the fault tests do to a spool: agents' calls in miniature, each with its decision, its effect and its end.

An effect is a line with the span's id in a file: what must be on record is what stands there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from handrail_propagation import conventions as names
from handrail_propagation import emit_event, telemetry
from handrail_propagation.config import Config
from handrail_propagation.providers import build
from handrail_propagation.spool import NotRecorded, before_act
from handrail_propagation.spool.accounting import account
from handrail_propagation.spool.files import FILES, Files
from handrail_propagation.spool.process import Spool
from handrail_propagation.spool.reader import read, segments, survey
from handrail_propagation.spool.record import Kind, Record
from handrail_propagation.telemetry import Telemetry

GATED = {
    names.GEN_AI_OPERATION_NAME: names.OPERATION_EXECUTE_TOOL,
    names.DECISION_ID: "d" * 32,
    names.DECISION_RISK: "write",
    names.TOOL_DISPOSITION: "executed",
}
READ = {names.DECISION_RISK: "read"}


_prepared: Telemetry | None = None


def prepare(folder: Path) -> None:
    """Set telemetry up once, in a parent: making it costs a child ten times what it does then."""
    global _prepared
    _prepared = _telemetry(folder / "never written")


def record_into(folder: Path, *, files: Files = FILES, segment_size: int | None = None) -> Spool:
    """Set up this process's telemetry with a spool, as `instrument()` does, and let `before_act` use it."""
    now = _prepared or _telemetry(folder)
    telemetry._current = now
    assert now.recorder is not None
    spool = now.recorder.spool = Spool(folder, files=files, segment_size=segment_size)
    return spool


def _telemetry(folder: Path) -> Telemetry:
    resource = Resource({"service.name": "faults"})
    return build(
        Config(spool_dir=str(folder), forward="none"),
        tracer_provider=TracerProvider(resource=resource, shutdown_on_exit=False),
        logger_provider=LoggerProvider(resource=resource, shutdown_on_exit=False),
        meter_provider=None,
        service_name="",
    )


def call(effect: Callable[[str], Any]) -> bool:
    """Make one call above `read`; return whether it was made."""
    with telemetry.tracer().start_as_current_span("execute_tool note", attributes=GATED) as span:
        emit_event(names.EVENT_DECISION, {names.DECISION_INTENT: "Leave a line."}, span=span)
        try:
            before_act(span)
        except NotRecorded:
            span.set_attribute(names.TOOL_DISPOSITION, "not_recorded")
            return False
        effect(f"{span.get_span_context().span_id:016x}")
        return True


def look() -> None:
    """Make one call that only reads."""
    with telemetry.tracer().start_as_current_span("execute_tool look", attributes=READ):
        pass


def line_in(path: Path) -> Callable[[str], None]:
    """Return an effect: it appends a line to a file, in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return lambda text: (os.write(descriptor, f"{text}\n".encode()), None)[1]


def lines_of(path: Path) -> set[str]:
    """Return the effects that have happened."""
    return set(path.read_text().split()) if path.exists() else set()


@dataclass(slots=True)
class Found:
    """What is on record in a folder, and what is wrong with it."""

    started: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)
    recorded: dict[int, int] = field(default_factory=dict)
    """Writer → its highest number."""
    intact: int = 0
    quarantined: int = 0
    exact: bool = False

    @property
    def safe(self) -> set[str]:
        """Calls whose start and decision are on record."""
        return self.started & self.decided


def numbers(folder: Path) -> dict[int, dict[int, Kind]]:
    """Return the numbers of the records that can be read, and what these are, for each writer."""
    intact: dict[int, dict[int, Kind]] = {}
    for writer, files in segments(folder).items():
        records = [item for file in files for item in read(file) if isinstance(item, Record)]
        intact[writer] = {record.sequence: record.kind for record in records}
    return intact


def is_exact(folder: Path) -> bool:
    """Whether the account of a folder that nobody has forwarded is what counting its records one by one comes to."""
    intact = numbers(folder)
    lines = {line.writer: line for line in account(folder).writers}
    return lines.keys() == intact.keys() and all(
        (line.delivered, line.pending, line.quarantined)
        == (0, len(intact[writer]), line.recorded - len(intact[writer]))
        and line.recorded >= max(intact[writer], default=0)
        for writer, line in lines.items()
    )


def find(folder: Path) -> Found:
    """Read a spool as somebody does who comes after the crash. Fails when anything in it makes that fail."""
    found = Found()
    for files in segments(folder).values():
        for file in files:
            for item in read(file):
                if isinstance(item, Record):
                    _take(found, item)
    found.exact = is_exact(folder)
    for state in survey(folder):
        found.recorded[state.id] = state.recorded
        found.intact += state.intact
        found.quarantined += state.quarantined
    return found


def _take(found: Found, record: Record) -> None:
    if record.kind is Kind.SPAN_START:
        found.started.add(Span.FromString(record.payload).span_id.hex())
    elif record.kind is Kind.SPAN_END:
        found.ended.add(Span.FromString(record.payload).span_id.hex())
    elif record.kind is Kind.LOG:
        found.decided.add(LogRecord.FromString(record.payload).span_id.hex())
