"""What recording costs: a start and an end record, and the wait before an effect, in one run with the stock exporter.

    python benchmarks/spool.py

`record` is the CPU time of a span with a spool less that of the same span without a processor, for both records;
`stock` the same for the batch processor with OTLP/HTTP to a null sink, its thread's time included. `wait` is the wall
time of record-before-act, median, beside one fdatasync of as many bytes in the same folder, in turns. Nothing is
forwarded meanwhile; what forwarding the same spans takes afterwards, to a destination that does nothing, is the last
line.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forward import forwarding
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from overhead import Sink, serving

from handrail_propagation import conventions as names
from handrail_propagation import emit_event, telemetry
from handrail_propagation.config import Config
from handrail_propagation.providers import build
from handrail_propagation.spool import before_act

ATTRIBUTES = {f"gen_ai.attribute.{number}": f"value {number}" for number in range(8)}
GATED = {**ATTRIBUTES, names.DECISION_ID: "d-1", names.DECISION_RISK: "write"}


def cpu(tracer: Any, spans: int, flush: Callable[[], object]) -> float:
    """CPU microseconds for each of some spans, until all are where they go."""
    before = time.process_time()
    for _ in range(spans):
        tracer.start_span("chat model", attributes=ATTRIBUTES).end()
    flush()
    return (time.process_time() - before) / spans * 1e6


def waits(tracer: Any, folder: Path, calls: int) -> tuple[float, float]:
    """Median milliseconds of `before_act`, and of one fdatasync after 1 kB was appended."""
    acted, synced = [], []
    descriptor = os.open(folder / "alone", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for _ in range(calls):
        with tracer.start_as_current_span("execute_tool write", attributes=GATED) as span:
            emit_event(names.EVENT_DECISION, {names.DECISION_ID: "d-1"}, span=span)
            before = time.perf_counter()
            before_act(span)
            acted.append((time.perf_counter() - before) * 1e3)
        os.write(descriptor, bytes(1024))
        before = time.perf_counter()
        os.fdatasync(descriptor)
        synced.append((time.perf_counter() - before) * 1e3)
    os.close(descriptor)
    return statistics.median(acted), statistics.median(synced)


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spans", type=int, default=2000)
    parser.add_argument("--calls", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base, serving(Sink) as sink:
        bare = TracerProvider(shutdown_on_exit=False)
        stock = TracerProvider(shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{sink}/v1/traces")
        stock.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2 * options.spans))
        now = build(
            Config(spool_dir=f"{base}/spool", forward="none"),
            tracer_provider=TracerProvider(shutdown_on_exit=False),
            logger_provider=LoggerProvider(shutdown_on_exit=False),
            meter_provider=None,
            service_name="",
        )
        telemetry._current = now
        best = {"bare": 9e9, "stock": 9e9, "spool": 9e9}
        for _ in range(7):
            for name, tracer, flush in (
                ("bare", bare.get_tracer("b"), bool),
                ("stock", stock.get_tracer("b"), stock.force_flush),
                ("spool", now.tracer, bool),
            ):
                best[name] = min(best[name], cpu(tracer, options.spans, flush))
        gated, alone = waits(now.tracer, Path(base), options.calls)
        assert now.recorder is not None
        now.recorder.spool.close()
        stock.shutdown()
        spans = 7 * options.spans + options.calls
        forwarded = spans / forwarding(Path(base) / "spool", spans, compress=False)
    record = (best["spool"] - best["bare"]) / 2
    print(f"span alone                {best['bare']:8.1f} µs CPU")
    print(f"start or end record       {record:8.1f} µs CPU more")
    print(f"ungated span in all       {best['spool'] / 1e3:8.4f} ms CPU")
    print(
        f"stock batch and OTLP/HTTP {best['stock'] - best['bare']:8.1f} µs CPU more (sink's threads included)"
    )
    print(f"record before act         {gated:8.3f} ms wall")
    print(f"one fdatasync             {alone:8.3f} ms wall")
    print(f"forwarding, one core      {forwarded:8,.0f} spans/s to a destination that does nothing")


if __name__ == "__main__":
    main()
