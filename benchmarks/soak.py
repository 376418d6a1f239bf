"""A long run on a real worker: is anything left of a task when it is over, and does memory grow?

    python benchmarks/soak.py                  # 100,000 tasks, some minutes
    python benchmarks/soak.py --tasks 2000     # the short form that the suite runs
    python benchmarks/soak.py --spool          # with HANDRAIL_SPOOL_DIR in place of exports from each process

Of twelve tasks five succeed, and one each fails, is retried, ignored, rejected, revoked, expired or of an unknown name.
A fifth of them warms up; from there to the end the producer (this process), the worker's main process and its pool
child are compared: objects that belong to one task, entries of the package's module-level tables, resident memory. The
same is done with bare Celery first, whose pool children grow with every task that fails. Exits with status 1 when a
task left something behind, or memory grew by more than `--growth` MiB beyond what it does with bare Celery.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from celery import Celery
from celery.exceptions import Ignore, Reject
from celery.worker.control import Panel

OF_ONE_TASK = {"Delivery", "Sending", "MessageSpan", "_Open", "_Span"}
TABLE_SLACK = 100
"""Entries by which a bounded cache may still fill up after the warm-up."""

app = Celery("soak", broker=os.environ.get("HANDRAIL_BENCH_BROKER", "memory://"))
app.conf.update(
    task_ignore_result=True,
    task_default_queue=os.environ.get("HANDRAIL_BENCH_QUEUE", "soak"),
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=64,
    worker_max_memory_per_child=None,
)


@app.task
def succeeds() -> None:
    """Do nothing."""


@app.task
def fails() -> None:
    """Fail."""
    raise ValueError


@app.task(bind=True, max_retries=1)
def retries(self: Any) -> None:
    """Succeed the second time."""
    if not self.request.retries:
        raise self.retry(countdown=0)


@app.task
def ignores() -> None:
    """Say nothing of how it ended."""
    raise Ignore


@app.task
def rejects() -> None:
    """Refuse the message."""
    raise Reject(requeue=False)


@app.task
def reports(key: str) -> None:
    """Push what the pool child holds, apart from this very task."""
    import redis

    found = state()
    for kind in ("Delivery", "MessageSpan") if os.environ["HANDRAIL_BENCH_ROLE"] == "traced" else ():
        found["objects"][kind] = found["objects"].get(kind, 0) - 1
    with redis.Redis.from_url(os.environ["HANDRAIL_BENCH_BROKER"]) as client:
        client.lpush(key, json.dumps(found))


@Panel.register(name="soak_state")
def soak_state(_: Any) -> dict[str, Any]:
    """Return what the worker's main process holds."""
    return state()


def state() -> dict[str, Any]:
    """Return objects of single tasks, sizes of tables, and resident memory in MiB of this process."""
    import psutil

    from handrail_propagation import flush

    flush(10)
    gc.collect()
    objects = Counter(
        type(thing).__name__
        for thing in gc.get_objects()
        if type(thing).__name__ in OF_ONE_TASK
        and type(thing).__module__.startswith(("handrail_", "opentelemetry."))
    )
    tables = {
        f"{module}.{name}": len(value)
        for module, loaded in list(sys.modules.items())
        if module.startswith("handrail_propagation")
        for name, value in vars(loaded).items()
        if isinstance(value, (dict, list, set)) and not name.startswith("__")
    }
    return {"objects": dict(objects), "tables": tables, "rss": psutil.Process().memory_info().rss / (1 << 20)}


if "HANDRAIL_BENCH_ROLE" in os.environ:
    if os.environ["HANDRAIL_BENCH_ROLE"] == "traced":
        from handrail_propagation import instrument

        instrument(app)
    for name in ("celery.app.trace", "celery.worker.strategy", "celery.worker.consumer.consumer"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # a line for each task is not what is measured


# --- The measuring process, which is the producer, too


class Soak:
    """One worker, and what is sent to it."""

    def __init__(self, role: str, redis_url: str, sink: str, folder: Path, spool: bool) -> None:
        from handrail_harness.stack.workers import Worker

        queue = f"soak-{time.time_ns()}"
        env = {
            "HANDRAIL_BENCH_BROKER": redis_url,
            "HANDRAIL_BENCH_QUEUE": queue,
            "HANDRAIL_BENCH_ROLE": role,
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink,
            "OTEL_LOGS_EXPORTER": "none",
        }
        if spool:
            env["HANDRAIL_SPOOL_DIR"] = str(folder / "spool")
        os.environ.update({key: value for key, value in env.items() if key != "HANDRAIL_BENCH_ROLE"})
        app.conf.update(broker_url=redis_url, task_default_queue=queue)
        import redis

        if role == "traced":
            from handrail_propagation import instrument

            instrument(app)
        self.queue = queue
        self.redis = redis.Redis.from_url(redis_url)
        self.worker = Worker(
            "soak:app", [queue], cwd=Path(__file__).parent, env=env, log_path=folder / f"{queue}.log"
        )
        self.worker.start()

    def send(self, count: int) -> None:
        """Send `count` tasks of all kinds, and wait until the worker has none of them left."""
        for start in range(0, count, 1000):
            revoked = [
                f"revoked-{time.time_ns()}-{number}" for number in range(start, min(start + 1000, count), 12)
            ]
            app.control.revoke(revoked)
            for number in range(start, min(start + 1000, count)):
                match number % 12:
                    case 5:
                        fails.delay()
                    case 6:
                        retries.delay()
                    case 7:
                        ignores.delay()
                    case 8:
                        rejects.delay()
                    case 9:
                        succeeds.apply_async(task_id=revoked.pop())
                    case 10:
                        succeeds.apply_async(expires=-1)
                    case 11:
                        app.send_task("nobody.knows.this")
                    case _:
                        succeeds.delay()
            self._wait(lambda: self.redis.llen(self.queue) < 500)
        self._wait(lambda: not self.redis.llen(self.queue) and not self.redis.hlen("unacked"))

    def look(self) -> dict[str, dict[str, Any]]:
        """Return the state of all three processes."""
        key = f"state-{time.time_ns()}"
        reports.delay(key)
        self._wait(lambda: self.redis.llen(key))
        self._wait(lambda: not self.redis.hlen("unacked"))
        replies = app.control.broadcast("soak_state", reply=True, timeout=60, limit=1)
        if not replies:
            raise SystemExit(f"the worker does not answer\n{self.worker.log(40)}")
        (main,) = replies[0].values()
        return {"producer": state(), "worker": main, "pool child": json.loads(self.redis.lpop(key))}

    def _wait(self, condition: Any) -> None:
        deadline = time.monotonic() + 600
        while not condition():
            if time.monotonic() > deadline or not self.worker.running:
                raise SystemExit(f"the worker does not get on\n{self.worker.log(40)}")
            time.sleep(0.05)


def main() -> None:
    """Run, print the table, and say by the exit status whether anything is left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--growth", type=float, default=8.0, help="MiB by which memory may grow")
    parser.add_argument("--spool", action="store_true", help="record into a spool, forwarded by the worker")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    sys.modules["soak"] = sys.modules["__main__"]
    from overhead import Sink, serving

    from handrail_harness.stack.redis import RedisServer

    failed = False
    growth: dict[tuple[str, str], float] = {}
    print(
        f"{options.tasks:,} tasks\n{'':8}{'process':<12}{'objects of tasks':>18}{'tables grown':>14}{'RSS MiB':>20}"
    )
    with serving(Sink) as sink, RedisServer() as server, tempfile.TemporaryDirectory() as folder:
        states = {
            role: run(Soak(role, server.url, sink, Path(folder), options.spool), options.tasks)
            for role in ("bare", "traced")
        }
    for role, (before, after) in states.items():
        for process, found in after.items():
            old = before[process]
            growth[role, process] = found["rss"] - old["rss"]
            objects = sum(found["objects"].values())
            known = old["tables"]
            grown = [
                name for name, size in found["tables"].items() if size > known.get(name, 0) + TABLE_SLACK
            ]
            memory = f"{old['rss']:.1f} -> {found['rss']:.1f}"
            print(f"{role:<8}{process:<12}{objects:>18}{len(grown):>14}{memory:>20}", *grown)
            allowed = growth["bare", process] + options.growth
            failed |= objects != 0 or bool(grown) or growth[role, process] > allowed
    if failed:
        raise SystemExit("something is left of tasks that are over")


def run(soak: Soak, tasks: int) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Send the tasks; return the states after the warm-up and at the end."""
    try:
        soak.send(tasks // 10)
        soak.look()  # which itself makes a fresh pool child copy pages that it shared with its parent
        soak.send(tasks // 10)
        before = soak.look()
        soak.send(tasks - 2 * (tasks // 10))
        return before, soak.look()
    finally:
        soak.worker.stop()


if __name__ == "__main__":
    main()
