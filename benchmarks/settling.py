"""What it costs to wait for a long run: CPU time of `settle` and of the server that it asks, and how often it reads.

    uv run python benchmarks/settling.py [--spans 20000] [--deadline 5]

The run is that of benchmarks/checker.py. `growing`: half of it is there, then nine parts come, one every half second.
`open`: the last part never comes, so that it is waited for until the deadline. `at rest`: all of it is there, and is
looked at until nothing has come for the quiet time. The ratio is to one `check`.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence

import httpx
import psutil
from checker import requests_of, run_of
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness.otlp import parse_protobuf, spans_of
from handrail_harness.rules import check, settle
from handrail_harness.sources.base import Source
from handrail_harness.sources.memory import MemorySource
from handrail_harness.spans import Span
from handrail_harness.stack.embedded import EmbeddedStack

PARTS, PAUSE = 10, 0.5  # of a growing run; seconds


class Place:
    """Where spans are put and read: memory, or the embedded store in a process of its own."""

    def __init__(self, source: Source, stack: EmbeddedStack | None = None) -> None:
        self.source = source
        self._stack = stack
        self.reads = 0
        read = source.spans

        def counted(trace_id: str) -> Sequence[Span]:
            self.reads += 1
            return read(trace_id)

        source.spans = counted  # type: ignore[method-assign]

    def put(self, requests: Sequence[bytes]) -> None:
        """Export."""
        if self._stack is None:
            assert isinstance(self.source, MemorySource)
            for body in requests:
                self.source.add(spans_of(parse_protobuf(body, ExportTraceServiceRequest)))
            return
        headers = {"content-type": "application/x-protobuf"}
        for body in requests:
            url = f"{self._stack.otlp_endpoint}/v1/traces"
            httpx.post(url, content=body, headers=headers, timeout=30, trust_env=False).raise_for_status()

    def cpu(self) -> float:
        """Seconds of this process, and of the server."""
        used = time.process_time()
        if self._stack is not None:
            times = psutil.Process(self._stack.receiver_pid).cpu_times()
            used += times.user + times.system
        return used


def measure(place: Place, trace_id: str, deadline: float) -> tuple[float, int]:
    """Return CPU seconds of a wait, and how often it read spans."""
    place.reads = 0
    before = place.cpu()
    settle(place.source, trace_id, deadline=deadline, invariants=())  # half a run may break some
    return place.cpu() - before, place.reads


def report(name: str, place: Place, spans: Sequence[Span], deadline: float) -> None:
    """Measure the three waits, and print their rows."""
    trace_id = spans[0].trace_id
    requests = list(requests_of(spans))
    half, tail = requests[: len(requests) // 2], requests[len(requests) // 2 :]
    step = -(-len(tail) // PARTS)

    def feed() -> None:
        for at in range(0, len(tail) - step, step):
            time.sleep(PAUSE)
            place.put(tail[at : at + step])

    place.put(half)
    feeder = threading.Thread(target=feed)
    feeder.start()
    rows = [("growing", *measure(place, trace_id, PARTS * PAUSE + 1))]
    feeder.join()
    rows.append(("open", *measure(place, trace_id, deadline)))
    place.put(tail[-step:])
    rows.append(("at rest", *measure(place, trace_id, 60)))
    place.reads = 0
    before = place.cpu()
    assert check(place.source, trace_id).unified
    once = place.cpu() - before
    print(f"| {name} | one check | {once:.2f} | {place.reads} | 1 |")
    for what, used, reads in rows:
        print(f"| {name} | {what} | {used:.2f} | {reads} | {used / once:.1f} |")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--spans", type=int, default=20_000)
    parser.add_argument("--deadline", type=float, default=5.0, help="seconds that an open run is waited for")
    given = parser.parse_args()
    spans = sorted(run_of(given.spans), key=lambda span: span.end_unix_nano)  # as they are exported
    print(f"{len(spans):,} spans\n\n| source | run | CPU s | reads | ratio |\n|---|---|---|---|---|")
    report("memory", Place(MemorySource()), spans, given.deadline)
    with EmbeddedStack() as stack:
        source = stack.source()
        report("store", Place(source, stack), spans, given.deadline)
        source.close()


if __name__ == "__main__":
    main()
