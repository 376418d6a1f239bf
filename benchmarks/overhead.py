"""What tracing costs a task: publish + execution on a real Redis and one prefork worker, against bare Celery.

    python benchmarks/overhead.py                  # CPU time, interleaved rounds, about a minute
    python benchmarks/overhead.py --instructions   # user-space instructions under cachegrind, about 15 minutes
    python benchmarks/overhead.py --instructions --without-heartbeat --only recorded,spool

Variants: `bare` (no tracing), `stock` (opentelemetry-instrumentation-celery, batch processor, OTLP/HTTP),
`export` (instrument(app), the same exporter variables), `spool` (instrument(app) with HANDRAIL_SPOOL_DIR, forwarded
to the same place), `recorded` (the same, but nothing is forwarded), `dropped` (spans go through a batch processor to
an exporter that drops them), `disabled` and `stock-disabled` (OTEL_SDK_DISABLED=true). All that is exported goes to a
null sink in this process, which is not measured; producer, worker and pool child are, with every thread in them. CPU
times vary by 15 to 30 %; instructions repeat to half a percent, and closer --without-heartbeat: else the worker's main
process sends heartbeats by the clock, more of them where a run takes longer.

The forwarder goes by the clock: it looks ten times a second, and sends twice a second while records come. Under
valgrind everything else is thirty times slower, and of a worker that forwards one would count the clock. So `spool` is,
with --instructions, what `recorded` costs and what `handrail forward --once` takes to deliver the same spans
afterwards. What the looks cost, and a request, benchmarks/forward.py says.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

VARIANTS = ("bare", "stock", "export", "recorded", "spool", "dropped", "disabled", "stock-disabled")

# --- The measured processes: this file is the Celery app of producer and worker


def make_app():  # type: ignore[no-untyped-def]
    """The app of one measured process, instrumented as HANDRAIL_BENCH_VARIANT says."""
    from celery import Celery, signals

    app = Celery("bench", broker=os.environ["HANDRAIL_BENCH_BROKER"])
    app.conf.update(
        task_ignore_result=True,
        task_default_queue=os.environ["HANDRAIL_BENCH_QUEUE"],
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=64,
    )

    @app.task(name="empty")
    def empty() -> None:
        pass

    @app.task(name="finished")
    def finished(key: str) -> None:
        import redis

        with redis.Redis.from_url(os.environ["HANDRAIL_BENCH_BROKER"]) as client:
            client.lpush(key, "1")

    variant = os.environ["HANDRAIL_BENCH_VARIANT"]
    if variant.startswith("stock"):
        if os.environ["HANDRAIL_BENCH_ROLE"] == "worker":
            signals.worker_process_init.connect(lambda **_: stock(), weak=False)
        else:
            stock()
    elif variant != "bare":
        from handrail_propagation import instrument

        instrument(app, tracer_provider=dropping() if variant == "dropped" else None)
    return app


def dropping():  # type: ignore[no-untyped-def]
    """A tracer provider whose exporter drops what a batch processor hands to it."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Dropping(SpanExporter):
        def export(self, spans):  # type: ignore[no-untyped-def]
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Dropping()))
    return provider


def stock() -> None:
    """Set the stock instrumentation up the way its documentation says."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


if "HANDRAIL_BENCH_VARIANT" in os.environ:
    app = make_app()


def produce() -> None:
    """For each line `count key` on standard input: send that many empty tasks, then one that pushes `key`."""
    empty, finished = app.tasks["empty"], app.tasks["finished"]
    for line in sys.stdin:
        count, key = line.split()
        for _ in range(int(count)):
            empty.delay()
        finished.delay(key)


# --- The measuring process


class Sink(BaseHTTPRequestHandler):
    """Takes any OTLP request and forgets it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Pair:
    """Producer and worker of one variant, optionally under valgrind; `flags` are more options of the worker."""

    def __init__(
        self,
        variant: str,
        redis_url: str,
        sink: str,
        folder: Path,
        prefix: tuple[str, ...] = (),
        flags: tuple[str, ...] = (),
    ) -> None:
        from handrail_harness.stack.process import Child
        from handrail_harness.stack.workers import Worker

        self.variant = variant
        self.redis_url = redis_url
        queue = f"bench-{variant}-{time.time_ns()}"
        env = {
            "HANDRAIL_BENCH_VARIANT": variant,
            "HANDRAIL_BENCH_BROKER": redis_url,
            "HANDRAIL_BENCH_QUEUE": queue,
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_SDK_DISABLED": "true" if variant.endswith("disabled") else "false",
            "PYTHONHASHSEED": "0",
        }
        self.spool = folder / f"{queue}.spool"
        if variant in ("recorded", "spool"):
            env["HANDRAIL_SPOOL_DIR"] = str(self.spool)
            env["HANDRAIL_FORWARD"] = "none" if variant == "recorded" else "worker"
        env = {**os.environ, **env}
        worker = Worker("overhead:app", [queue], cwd=Path(__file__).parent)
        command = [*prefix, *worker.command, *flags]
        command[command.index("INFO")] = "WARNING"
        log = folder / f"{queue}.log"
        self.worker = Child(
            command, log_path=log, env=env | {"HANDRAIL_BENCH_ROLE": "worker"}, cwd=Path(__file__).parent
        )
        self.producer = subprocess.Popen(
            [*prefix, sys.executable, __file__, "--produce"],
            stdin=subprocess.PIPE,
            text=True,
            env=env | {"HANDRAIL_BENCH_ROLE": "producer"},
            cwd=Path(__file__).parent,
        )

    def run(self, count: int, timeout: float) -> None:
        """Send `count` empty tasks and wait until the worker has run them."""
        import redis

        key = f"finished-{time.time_ns()}"
        assert self.producer.stdin
        self.producer.stdin.write(f"{count} {key}\n")
        self.producer.stdin.flush()
        deadline = time.monotonic() + timeout
        with redis.Redis.from_url(self.redis_url) as client:
            while client.blpop([key], timeout=2) is None:
                if time.monotonic() < deadline and self.worker.running and self.producer.poll() is None:
                    continue
                raise SystemExit(
                    f"{self.variant}: {count} tasks took more than {timeout:g} s\n{self.worker.log()}"
                )

    def cpu_seconds(self) -> float:
        """CPU time so far of producer, worker and pool child."""
        import psutil

        worker = psutil.Process(self.worker.pid)
        processes = [psutil.Process(self.producer.pid), worker, *worker.children(recursive=True)]
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    def close(self) -> None:
        """End both, so that they write out what they count."""
        assert self.producer.stdin
        self.producer.stdin.close()
        self.producer.wait(120)
        self.worker.close(grace=120)


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """An HTTP server in threads of this process; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def surroundings() -> Iterator[tuple[str, str, Path]]:
    """A Redis, the null sink and a folder."""
    from handrail_harness.stack.redis import RedisServer

    with serving(Sink) as sink, RedisServer() as redis_server, tempfile.TemporaryDirectory() as folder:
        yield redis_server.url, sink, Path(folder)


def measure_cpu(variants: list[str], tasks: int, rounds: int, flags: tuple[str, ...]) -> dict[str, float]:
    """CPU microseconds per task of each variant: the median over interleaved rounds."""
    with surroundings() as (redis_url, sink, folder):
        pairs = [Pair(variant, redis_url, sink, folder, flags=flags) for variant in variants]
        samples: dict[str, list[float]] = {variant: [] for variant in variants}
        for pair in pairs:
            pair.run(200, timeout=60)
        for number in range(rounds):
            for pair in pairs[number % len(pairs) :] + pairs[: number % len(pairs)]:
                before = pair.cpu_seconds()
                pair.run(tasks, timeout=120)
                samples[pair.variant].append((pair.cpu_seconds() - before) / tasks * 1e6)
        for pair in pairs:
            pair.close()
    return {variant: statistics.median(values) for variant, values in samples.items()}


def measure_instructions(variants: list[str], tasks: int, flags: tuple[str, ...]) -> dict[str, float]:
    """User-space instructions per task: the difference between a long and a short run under cachegrind."""
    if shutil.which("valgrind") is None:
        raise SystemExit(
            "--instructions needs valgrind: `apt-get install valgrind` (Debian, Ubuntu) or `dnf install "
            "valgrind` (Fedora). Without it, leave the option out and take the CPU times, which vary by 15 to 30 %."
        )
    results: dict[str, float] = {}
    for variant in variants:
        if variant == "spool" and "recorded" in results:
            continue  # printed with it
        is_spool = variant in ("recorded", "spool")
        measured = "recorded" if is_spool else variant
        runs = [count_instructions(measured, count, flags) for count in (tasks, tasks * 4)]
        recorded, forwarded = ((long - short) / (tasks * 3) for short, long in zip(*runs, strict=True))
        results[measured] = recorded
        if is_spool:
            print_row("recorded", results)
            results["spool"] = recorded + forwarded
        print_row("spool" if is_spool else variant, results)
    return results


def count_instructions(variant: str, count: int, flags: tuple[str, ...]) -> tuple[int, int]:
    """Instructions of a whole run of `count` tasks, and of forwarding afterwards what it has left in a spool."""
    with surroundings() as (redis_url, sink, folder):
        prefix = valgrind(folder / "cachegrind.out.%p")
        pair = Pair(variant, redis_url, sink, folder, prefix, flags)
        pair.run(count, timeout=900)
        pair.close()
        counted = list(folder.glob("cachegrind.out.*"))
        if len(counted) < 3:
            raise SystemExit(
                f"{variant}: producer, worker and pool child have left {len(counted)} counts only"
            )
        total = sum(map(instructions_in, counted))
        return total, forward_instructions(pair.spool, sink, folder) if pair.spool.exists() else 0


def forward_instructions(spool: Path, sink: str, folder: Path) -> int:
    """Instructions of a process that forwards all of a spool to the sink."""
    from handrail_propagation.spool.accounting import account

    out = folder / "forward.out"
    command = [*valgrind(out), sys.executable, "-m", "handrail_harness.cli", "forward", str(spool), "--once"]
    env = {**os.environ, "OTEL_LOGS_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "PYTHONHASHSEED": "0"}
    done = subprocess.run([*command, "--to", sink], env=env, capture_output=True, text=True, check=False)
    left = account(spool).total
    if done.returncode or left.pending or left.delivered != left.recorded:
        raise SystemExit(f"{spool}: not everything was delivered: {left}\n{done.stderr}")
    return instructions_in(out)


def valgrind(out: Path) -> tuple[str, ...]:
    """The command that counts a process's instructions into `out`."""
    return ("valgrind", "--tool=cachegrind", "--cache-sim=no", "-q", f"--cachegrind-out-file={out}")


def print_row(variant: str, results: dict[str, float]) -> None:
    """Print one line of the table."""
    value = results[variant]
    print(f"{variant:<16}{value:>20,.0f}{value / results['bare']:>10.3f}", flush=True)


def instructions_in(path: Path) -> int:
    """Total of one process's cachegrind output."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if match := re.match(r"summary:\s+(\d+)", line):
                return int(match[1])
    raise SystemExit(f"{path}: no summary line")


def main() -> None:
    """Parse the command line, measure, print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--instructions", action="store_true", help="count instructions under valgrind's cachegrind"
    )
    parser.add_argument(
        "--without-heartbeat",
        action="store_true",
        help="the worker sends no heartbeats, which go by the clock",
    )
    parser.add_argument("--only", help="comma-separated variants besides bare")
    parser.add_argument(
        "--tasks", type=int, default=0, help="tasks per round (1000; with --instructions 100)"
    )
    parser.add_argument("--rounds", type=int, default=8, help="rounds per variant, CPU time only")
    parser.add_argument("--produce", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.produce:
        produce()
        return
    flags = ("--without-heartbeat",) if options.without_heartbeat else ()
    variants = ["bare", *options.only.split(",")] if options.only else [*VARIANTS]
    print(
        f"{'variant':<16}{'instructions/task' if options.instructions else 'CPU µs/task':>20}{'x bare':>10}"
    )
    if options.instructions:
        measure_instructions(variants, options.tasks or 100, flags)
        return
    results = measure_cpu(variants, options.tasks or 1000, options.rounds, flags)
    for variant in results:
        print_row(variant, results)


if __name__ == "__main__":
    main()
