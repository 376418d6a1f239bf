"""What encoding a span costs: OTLP written directly against OpenTelemetry's own encoder, in one run.

    python benchmarks/encoder.py

CPU time of this process, the best of interleaved rounds; each batch has 512 spans and the output of both is
compared byte for byte first.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as stock_encode
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from handrail_propagation.otlp.requests import encode_spans

BATCH = 512


class Keep(SpanExporter):
    """Keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans):  # type: ignore[no-untyped-def]
        self.spans += spans
        return SpanExportResult.SUCCESS


def corpus() -> dict[str, list[ReadableSpan]]:
    """Spans as they come: of a worker's messages, of agents with everything on them, and bare ones."""
    rng = random.Random(1)
    resource = Resource.create({"service.name": "bench", "service.instance.id": "i-1"})

    def record(make) -> list[ReadableSpan]:  # type: ignore[no-untyped-def]
        keep = Keep()
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(keep))
        tracer = provider.get_tracer("handrail", "0.1")
        for number in range(BATCH):
            make(tracer, number)
        return keep.spans

    def bare(tracer, number: int) -> None:  # type: ignore[no-untyped-def]
        tracer.start_span(f"span {number % 7}").end()

    def message(tracer, number: int) -> None:  # type: ignore[no-untyped-def]
        tracer.start_span(
            "process orders",
            kind=SpanKind.CONSUMER,
            links=[Link(SpanContext(rng.getrandbits(128), rng.getrandbits(64), True))],
            attributes={
                "messaging.system": "redis",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": "orders",
                "messaging.message.id": f"{rng.getrandbits(128):032x}",
                "messaging.client.id": "celery@worker-1",
                "agent.message.attempt": 1,
                "agent.message.redelivered": False,
                "agent.message.queue_wait": rng.random(),
                "celery.task_name": "shop.orders.place",
                "celery.action": "run",
                "agent.run.id": f"{rng.getrandbits(128):032x}",
            },
        ).end()

    def agent(tracer, number: int) -> None:  # type: ignore[no-untyped-def]
        span = tracer.start_span(
            "execute_tool drop_table",
            links=[
                Link(
                    SpanContext(rng.getrandbits(128), rng.getrandbits(64), False),
                    {"agent.link.type": "informed_by"},
                )
                for _ in range(2)
            ],
            attributes={
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.agent.name": "cleaner",
                "gen_ai.tool.name": "drop_table",
                "gen_ai.usage.input_tokens": 1234,
                "agent.decision.intent": "Free disk space on the database host by dropping an unused table",
                "agent.decision.reasoning": "The table has not been read for a year. " * 8,
                "agent.decision.reversible": False,
                "agent.tool.touches": ["postgres://db-7/orders/items", "postgres://db-7/orders/archive"],
                "agent.delegation.path": ["planner", "dba", "cleaner"],
                "nested": {"rows": [1, 2, 3], "host": "db-7"},
                "numbers": [1, 2, 3, 4, 5, 6, 7, 8],
            },
        )
        span.add_event(
            "agent.decision", {"agent.decision.id": f"{number}", "agent.decision.risk": "destructive"}
        )
        if number % 4 == 0:
            span.set_status(Status(StatusCode.ERROR, "ValueError"))
        span.end()

    def any_of_them(tracer, number: int) -> None:  # type: ignore[no-untyped-def]
        rng.choice((bare, message, agent))(tracer, number)

    return {
        "bare": record(bare),
        "message": record(message),
        "agent, links, events, arrays": record(agent),
        "all of them": record(any_of_them),
    }


def cost(encode: Callable[[], object], rounds: int) -> float:
    """CPU microseconds per span, the best of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        before = time.process_time_ns()
        encode()
        best = min(best, (time.process_time_ns() - before) / 1000 / BATCH)
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    print(f"{'spans':30} {'bytes/span':>10} {'stock µs':>9} {'ours µs':>8} {'ratio':>6}")
    for name, spans in corpus().items():
        expected = stock_encode(spans).SerializePartialToString()
        assert encode_spans(spans) == expected, name
        stock = ours = float("inf")
        for _ in range(rounds):
            stock = min(stock, cost(lambda: stock_encode(spans).SerializePartialToString(), 1))  # noqa: B023
            ours = min(ours, cost(lambda: encode_spans(spans), 1))  # noqa: B023
        print(f"{name:30} {len(expected) // BATCH:10} {stock:9.1f} {ours:8.2f} {stock / ours:6.1f}")


if __name__ == "__main__":
    main()
