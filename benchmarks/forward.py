"""What forwarding a spool costs: to a destination that does nothing, with compression, and beside decoding it.

    python benchmarks/forward.py

Spans a second of CPU time of one core, the best of some rounds. A span is a start record and an end record of a
worker's `process` span. The last line is what a forwarder would cost that decodes each record, adds the record's id and
encodes a request again, in protobuf's C code: what we do not do.

Below that, what a forwarder costs by the clock, in CPU time of its thread, with four processes that write: a look at a
folder in which nothing moves, reading the folder as a whole, and a request with few spans over OTLP/HTTP, ledger
included; and how long a lone span takes to be delivered, from its end on.
"""

from __future__ import annotations

import argparse
import os
import random
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
from overhead import Sink, serving

from handrail_propagation.config import Config
from handrail_propagation.forward.destination import Destination, from_url
from handrail_propagation.forward.forwarder import LOOK, PAUSE, Forwarder
from handrail_propagation.forward.outcome import Accepted, Outcome
from handrail_propagation.forward.shipper import LOOK_EVERY
from handrail_propagation.forward.wire import Signal
from handrail_propagation.providers import build
from handrail_propagation.spool.identity import Identity
from handrail_propagation.spool.reader import read, segments
from handrail_propagation.spool.record import Kind, Record
from handrail_propagation.spool.writer import Writer

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


class Small:
    """Four writers of this process, a forwarder of their folder that is not started, and what it costs."""

    def __init__(self, folder: Path, sink: str) -> None:
        folder.mkdir(mode=0o700)
        self._writers = [Writer(folder, Identity.here().encode()) for _ in range(4)]
        self._forwarder = Forwarder(folder, [from_url(sink, Config())])
        assert self._forwarder.elect()
        self._shipper = self._forwarder.shippers[0]
        self.send()
        time.sleep(0.1)  # else the folder has changed just now
        self._shipper.round()
        assert self._shipper.is_quiet

    def span(self) -> None:
        """Record a span of each process."""
        for writer in self._writers:
            span = Span(
                trace_id=os.urandom(16), span_id=os.urandom(8), name="x" * 300, start_time_unix_nano=1
            )
            writer.append(Kind.SPAN_START, span.SerializeToString())
            span.end_time_unix_nano = 2
            writer.append(Kind.SPAN_END, span.SerializeToString())

    def quiet(self) -> None:
        """Look at a folder in which nothing moves."""
        assert self._shipper.is_quiet

    def look(self) -> None:
        """Read the folder as a whole, and send what is new."""
        self._shipper.round()

    def send(self) -> None:
        """Record, and send it."""
        self.span()
        self._shipper.round()

    def close(self) -> None:
        """Let go of the folder."""
        self._forwarder.stop()
        for writer in self._writers:
            writer.close()


def thread_time(work: Callable[[], object], calls: int) -> float:
    """Return the CPU milliseconds of a call in this thread, the best of some rounds."""
    best = float("inf")
    for _ in range(10):
        before = time.thread_time()
        for _ in range(calls):
            work()
        best = min(best, (time.thread_time() - before) / calls * 1e3)
    return best


def latencies(folder: Path, count: int) -> list[float]:
    """Return the seconds that lone spans take from their end to a destination, sorted, at random distances."""
    folder.mkdir(mode=0o700)
    writer = Writer(folder, Identity.here().encode())
    null = Null(compress=False)
    forwarder = Forwarder(folder, [Destination("nowhere", null)])
    forwarder.start()
    taken = []
    for number in range(count):
        time.sleep(0.8 + random.random() / 4)
        span = Span(trace_id=os.urandom(16), span_id=number.to_bytes(8, "big"), start_time_unix_nano=1)
        sent, before = null.requests, time.monotonic()
        writer.append(Kind.SPAN_START, span.SerializeToString())
        writer.append(Kind.SPAN_END, span.SerializeToString())
        while null.requests == sent:
            time.sleep(0.001)
        taken.append(time.monotonic() - before)
    forwarder.stop()
    writer.close()
    return sorted(taken)


def by_the_clock(folder: Path) -> None:
    """Measure and print what a forwarder costs by the clock."""
    with serving(Sink) as sink:
        small = Small(folder / "small", sink)
        quiet = thread_time(small.quiet, 50)
        whole = thread_time(small.look, 10)
        recorded = thread_time(small.span, 10)
        request = thread_time(small.send, 10) - recorded
        small.close()
    print(f"{'look, nothing moves':28} {quiet:10.3f} ms, every {LOOK:g} s")
    print(f"{'whole folder, nothing new':28} {whole:10.3f} ms, every {LOOK_EVERY:g} s")
    print(f"{'request with four spans':28} {request:10.3f} ms, every {PAUSE:g} s at the most")
    print(f"{'idle':28} {(quiet / LOOK + whole / LOOK_EVERY) / 10:10.3f} % of a core")
    taken = latencies(folder / "lone", 20)
    print(
        f"{'a lone span is delivered':28} {taken[len(taken) // 2]:10.3f} s after its end, {taken[-1]:.3f} at the most"
    )


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
    with tempfile.TemporaryDirectory() as base:
        by_the_clock(Path(base))


if __name__ == "__main__":
    main()
