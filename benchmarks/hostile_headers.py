"""What hostile headers cost a consumer: milliseconds of CPU and kilobytes, for each shape, small and at 10 MB.

    python benchmarks/hostile_headers.py

Measured is what a delivery does with the headers of its message (reading them, and starting and ending the `process`
span), and how long `json` needs to read the same message, which no tracing can save. The promise is under 5 ms and
1 MB each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tracemalloc
from typing import Any

from opentelemetry import context
from opentelemetry.sdk.trace import TracerProvider

from handrail_harness.conformance.hostile import SHAPES
from handrail_propagation import telemetry
from handrail_propagation.delivery import Delivery

SIZES = (10_000, 10_000_000)
ROUNDS = 15


def read(request: dict[Any, Any]) -> None:
    """Do with a message's headers what a delivery does."""
    delivery = Delivery(None, "redis", "task", "id", request)
    context.detach(delivery.token)
    delivery.close(None)


def milliseconds(work: Any, *args: Any) -> float:
    """Return the median CPU time of several calls."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work(*args)
        times.append(time.process_time() - started)
    return statistics.median(times) * 1000


def kilobytes(request: dict[Any, Any]) -> float:
    """Return the most that was taken at a time."""
    tracemalloc.start()
    read(request)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1000


def parsing(request: dict[Any, Any]) -> str:
    """Return how long reading the message as JSON takes, `-` for what JSON cannot hold."""
    try:
        text = json.dumps({str(key): value for key, value in request.items()})
    except TypeError:
        return "-"
    return f"{milliseconds(json.loads, text):.2f}"


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    telemetry.setup(tracer_provider=TracerProvider())  # spans are recorded, and exported nowhere
    print(f"{'shape':22} {'ms, 10 kB':>10} {'ms, 10 MB':>10} {'ratio':>6} {'kB, 10 MB':>10} {'json, ms':>9}")
    worst = (0.0, 0.0)
    for name, make in SHAPES.items():
        small, big = (make(size) for size in SIZES)
        times = milliseconds(read, small), milliseconds(read, big)
        taken = kilobytes(big)
        worst = max(worst[0], times[1]), max(worst[1], taken)
        ratio = times[1] / times[0] if times[0] else float("nan")
        print(f"{name:22} {times[0]:10.3f} {times[1]:10.3f} {ratio:6.1f} {taken:10.1f} {parsing(big):>9}")
    print(f"{'worst':22} {'':10} {worst[0]:10.3f} {'':6} {worst[1]:10.1f}")


if __name__ == "__main__":
    main()
