"""What forwarding a spool costs: to a destination that does nothing, with compression, and beside decoding it.

    python benchmarks/forward.py

Spans a second of CPU time of one core, the best of some rounds. A span is a start record and an end record of a
worker's `process` span. The last line is what a forwarder would cost that decodes each record, adds the record's id and
encodes a request again, in protobuf's C code: what we do not do.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from handrail_propagation.config import Config
from handrail_propagation.forward.destination import Destination
from handrail_propagation.forward.forwarder import Forwarder
from handrail_propagation.forward.outcome import Accepted, Outcome
from handrail_propagation.forward.wire import Signal
from handrail_propagation.providers import build
from handrail_propagation.spool.reader import read, segments
from handrail_propagation.spool.record import Kind, Record

BATCH = 2000


class Null:
    """Takes everything; `compress` as the HTTP transport does."""

    signals = frozenset(Signal)

    def __init__(self, *, compress: bool) -> None:
        self.requests = 0
        self._compress = compress

    def send(self, signal: Signal, body: bytes) -> Outcome:
        self.requests += 1
        if self._compress:
            deflate = zlib.compressobj(1, wbits=31)
            deflate.compress(body)
            deflate.flush()
        return Accepted()

    def close(self) -> None:
        pass


def record(folder: Path, count: int) -> None:
    """Let a process that is gone have recorded that many spans."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    resource = Resource.create({"service.name": "bench"})
    telemetry = build(
        Config(spool_dir=str(folder), forward="none"),
        tracer_provider=TracerProvider(resource=resource, shutdown_on_exit=False),
        logger_provider=LoggerProvider(resource=resource, shutdown_on_exit=False),
        meter_provider=None,
        service_name="bench",
    )
    for number in range(count):
        attributes = {
            "messaging.system": "redis",
            "messaging.operation.name": "process",
            "messaging.destination.name": "orders",
            "messaging.message.id": f"{number:032x}",
            "agent.message.attempt": 1,
            "agent.message.redelivered": False,
            "celery.task_name": "shop.orders.place",
            "agent.run.id": f"{number:032x}",
        }
        telemetry.tracer.start_span("process orders", attributes=attributes).end()
    os._exit(0)


def forwarding(folder: Path, count: int, *, compress: bool) -> float:
    """Return the CPU seconds of forwarding the whole folder, ledger and deletion included."""
    destination = Destination("nowhere", Null(compress=compress))
    forwarder = Forwarder(folder, [destination])
    assert forwarder.elect()
    before = time.process_time()
    forwarder.shippers[0].round(patient=False)
    spent = time.process_time() - before
    assert forwarder.shippers[0].ledger.delivered >= 2 * count
    forwarder.stop()
    return spent


def decoding(folder: Path, count: int) -> float:
    """Return the CPU seconds of reading, decoding and encoding the same spans."""
    before = time.process_time()
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for files in segments(folder).values():
        for file in files:
            for item in read(file):
                if isinstance(item, Record) and item.kind is Kind.ORIGIN:
                    ResourceSpans.FromString(item.payload)
                elif isinstance(item, Record) and item.kind in (Kind.SPAN_START, Kind.SPAN_END):
                    span = Span.FromString(item.payload)
                    if item.kind is Kind.SPAN_END:
                        span.attributes.add(key="agent.record.id").value.string_value = item.id
                        scope.spans.append(span)
                        if len(scope.spans) == BATCH:
                            request.SerializeToString()
                            del scope.spans[:]
    request.SerializeToString()
    return time.process_time() - before


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spans", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as base:
        original = Path(base) / "original"
        record(original, options.spans)
        size = sum(path.stat().st_size for path in original.iterdir())
        ways: dict[str, Callable[[Path], float]] = {
            "to a null sink": lambda folder: forwarding(folder, options.spans, compress=False),
            "to a null sink, gzip": lambda folder: forwarding(folder, options.spans, compress=True),
            "decoded and encoded again": lambda folder: decoding(folder, options.spans),
        }
        for number in range(options.rounds):
            for name, way in ways.items():
                folder = Path(base) / f"{number} {name}"
                shutil.copytree(original, folder)
                best[name] = min(best.get(name, float("inf")), way(folder))
                shutil.rmtree(folder)
    print(f"{options.spans:,} spans, {size / options.spans:.0f} bytes each in the spool")
    print(f"{'':28} {'spans/s':>10} {'ratio':>6}")
    slowest = best["decoded and encoded again"]
    for name, seconds in best.items():
        print(f"{name:28} {options.spans / seconds:>10,.0f} {slowest / seconds:>6.1f}")


if __name__ == "__main__":
    main()
