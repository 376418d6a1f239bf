"""A destination in a process of its own, which writes down what has arrived before it says so.

It outlives whoever is killed, and whoever is killed cannot take it along.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from handrail_harness.faults import FaultyDestination
from handrail_harness.faults.grpc_destination import FaultyGrpcDestination
from handrail_harness.faults.misbehaving import Misbehaving

from .processes import fork

RECORD_ID = "agent.record.id"


@dataclass(slots=True)
class Arrived:
    """What a destination has taken."""

    spans: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)
    """Spans that have a log-based event."""
    records: Counter[str] = field(default_factory=Counter)
    """How often each record has come, by its id."""
    anonymous: int = 0
    """Records without an id."""

    @property
    def twice(self) -> int:
        """Copies beyond the first."""
        return sum(self.records.values()) - len(self.records)


class Keeping(Misbehaving):
    """Writes one line for each record: what it is, its span, its record id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def take(self, path: str, body: bytes) -> None:
        """Keep what is in a request, durable as far as the death of a process goes."""
        lines = [f"{line}\n" for line in lines_in(path, body)]
        os.write(self._descriptor, "".join(lines).encode())

    def close(self) -> None:
        """Close the file; what it holds can be read from then on as before."""
        os.close(self._descriptor)


class Keeper(Keeping, FaultyDestination):
    """Takes exports over HTTP."""


class GrpcKeeper(Keeping, FaultyGrpcDestination):
    """Takes exports over gRPC."""


def lines_in(path: str, body: bytes) -> list[str]:
    """Return a line for each record of a request: `span` or `log`, span id, record id."""
    if path.endswith("/v1/traces"):
        spans = [
            span
            for group in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]
        return [f"span {span.span_id.hex()} {_id(span.attributes)}" for span in spans]
    logs = [
        record
        for group in ExportLogsServiceRequest.FromString(body).resource_logs
        for scope in group.scope_logs
        for record in scope.log_records
    ]
    return [f"log {record.span_id.hex()} {_id(record.attributes)}" for record in logs]


def _id(attributes: Iterable[KeyValue]) -> str:
    found = [entry.value.string_value for entry in attributes if entry.key == RECORD_ID]
    return found[0] if found else "-"


def arrived(path: Path) -> Arrived:
    """Read what a `Keeper` has written."""
    found = Arrived()
    if path.exists():
        for line in path.read_text().splitlines():
            kind, span, record = line.split()
            (found.spans if kind == "span" else found.decided).add(span)
            if record == "-":
                found.anonymous += 1
            else:
                found.records[f"{kind} {record}"] += 1
    return found


@contextlib.contextmanager
def destination(path: Path) -> Iterator[str]:
    """Run a destination in a child; yield its endpoint. Nothing of it is left afterwards."""
    reading, writing = os.pipe()

    def serve() -> None:
        os.close(reading)
        with Keeper(path) as keeper:
            os.write(writing, f"{keeper.endpoint}\n".encode())
            signal.sigwait({signal.SIGTERM})

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    pid = fork(serve)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.close(writing)
    try:
        with open(reading) as pipe:
            yield pipe.readline().strip()
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
