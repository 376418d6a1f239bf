"""What sending many messages costs: one by one, and inside of `fan_out(app)`, on a real Redis.

    python benchmarks/fanout.py

CPU time of this process per message, all threads included, the best of some rounds that take turns; wall time beside
it. `bare` is Celery without tracing; `traced` has `instrument(app)` with spans that are ended and dropped. Redis' own
CPU time is not in it. CPU times vary by 15 to 30 % on a busy machine; the ratios are of one run.
"""

from __future__ import annotations

import argparse
import secrets
import time
from contextlib import AbstractContextManager, nullcontext

import redis
from celery import Celery
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from handrail_harness.stack.redis import RedisServer
from handrail_propagation import fan_out, instrument, uninstrument


class Dropping(SpanProcessor):
    """Takes ended spans and forgets them."""

    def on_end(self, span: ReadableSpan) -> None:
        pass


def publish(app: Celery, count: int, *, batched: bool) -> tuple[float, float]:
    """Return CPU and wall seconds of one message, over `count` of them."""
    block: AbstractContextManager[None] = fan_out(app) if batched else nullcontext()
    wall, cpu = time.perf_counter(), time.process_time()
    with block:
        for number in range(count):
            app.send_task("bench.empty", (number,))
    spent = (time.process_time() - cpu) / count, (time.perf_counter() - wall) / count
    with redis.Redis.from_url(str(app.conf.broker_url)) as client:
        queue = str(app.conf.task_default_queue)
        assert client.llen(queue) == count
        client.delete(queue)
    return spent


def compare(app: Celery, count: int, rounds: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the best CPU and wall seconds of plain and of batched publishes, which take turns."""
    for batched in (False, True):
        publish(app, 50, batched=batched)
    measured = [[publish(app, count, batched=batched) for batched in (False, True)] for _ in range(rounds)]
    plain, batched = zip(*measured, strict=True)
    return _best(plain), _best(batched)


def _best(times: tuple[tuple[float, float], ...]) -> tuple[float, float]:
    return min(cpu for cpu, _ in times), min(wall for _, wall in times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=2000, help="messages a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{'':8}{'plain µs CPU':>14}{'fan_out µs CPU':>16}{'ratio':>8}{'plain µs wall':>15}{'fan_out':>9}")
    with RedisServer() as server:
        app = Celery("bench", broker=server.url, set_as_current=False)
        app.conf.update(task_ignore_result=True, task_default_queue=f"bench-{secrets.token_hex(4)}")
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(Dropping())
        for name in ("bare", "traced"):
            if name == "traced":
                instrument(app, tracer_provider=provider)
            plain, batched = compare(app, options.messages, options.rounds)
            figures = [1e6 * value for value in (*plain, *batched)]
            print(
                f"{name:8}{figures[0]:14.0f}{figures[2]:16.0f}{batched[0] / plain[0]:8.2f}"
                f"{figures[1]:15.0f}{figures[3]:9.0f}"
            )
        uninstrument(app)
        app.close()


if __name__ == "__main__":
    main()
