"""What the pure checker costs: the forest, its hand-offs and lineage, every invariant, in CPU time, up to a million
spans.

    uv run python benchmarks/checker.py [--spans 1000000] [--rounds 5]

The runs are clean and shaped like real ones: agents that delegate, park and are woken, call models and tools, and spans
of a database below the tools, with ids of chance. They go through OTLP protobuf, so that the spans are as a reader
makes them: no two share a string unless the reader sees to it. `read` is that reader, and no part of the check.
`forest` is what `build` makes of the spans; `tree` the nine invariants that make up "one unified tree" and `all` every
one, each on a forest that was just built. The ratio is to look-ups of every span's id and of its parent's in a
dictionary, the least that a checker in plain Python does.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import get_args

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from handrail_harness.forest import build
from handrail_harness.otlp import parse_protobuf, spans_of
from handrail_harness.rules.facts import Facts
from handrail_harness.rules.table import INVARIANTS, NAMES, UNIFYING, breaches_of
from handrail_harness.spans import Span, SpanKind
from handrail_harness.strategies.builder import RunBuilder

KINDS = get_args(SpanKind)
BATCH = 512  # spans of a request, as exporters send them


def run_of(count: int) -> list[Span]:
    """Return a clean run of a little more than `count` spans."""
    run = RunBuilder()
    with run.handoff("planner"):
        while len(run.spans) < count:
            with run.handoff("worker", "because"):
                _work(run)
            _park(run)
    return run.spans


def _work(run: RunBuilder) -> None:
    chat = run.chat()
    for _ in range(3):
        with run.tool("look", "read", asked_by=chat):
            run.add("SELECT", "client", {"db.system.name": "postgresql"})
    run.call("write", "write", asked_by=run.chat())


def _park(run: RunBuilder) -> None:
    """An agent that delegates, parks, is woken by who it waited for, and delegates again."""
    with run.received(run.delegate("parking", "because")), run.agent("parking") as first:
        run.chat()
        message = run.delegate("helper", "it knows")
    with run.received(message):
        with run.agent("helper"):
            _work(run)
        wake = run.send("parking")
    with run.received(wake) as process, run.woken("parking", 2, first, first, process):
        run.chat()
        with run.handoff("helper", "once more"):
            _work(run)


def requests_of(spans: Sequence[Span]) -> Iterator[bytes]:
    """Yield the spans as OTLP requests, their ids replaced by ones of chance."""
    chance = random.Random(1)
    ids = {"": b""} | {span.span_id: chance.randbytes(8) for span in spans}
    for begin in range(0, len(spans), BATCH):
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        group.resource.attributes.extend(_attributes(spans[0].resource))
        scoped = group.scope_spans.add()
        scoped.scope.name = spans[0].scope_name
        for span in spans[begin : begin + BATCH]:
            wire = scoped.spans.add(
                trace_id=bytes.fromhex(span.trace_id),
                span_id=ids[span.span_id],
                parent_span_id=ids[span.parent_span_id],
                name=span.name,
                kind=KINDS.index(span.kind),
                start_time_unix_nano=span.start_unix_nano,
                end_time_unix_nano=span.end_unix_nano,
                attributes=_attributes(span.attributes),
            )
            for link in span.links:
                wire.links.add(
                    trace_id=bytes.fromhex(link.trace_id),
                    span_id=ids[link.span_id],
                    attributes=_attributes(link.attributes),
                )
        yield request.SerializeToString()


def _attributes(attributes: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: object) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_value(one) for one in value]))
    return AnyValue(string_value=str(value))


def read(requests: Sequence[bytes]) -> list[Span]:
    """Return the spans of these requests, in the order in which they began, which is also that of a reader."""
    return [span for one in requests for span in spans_of(parse_protobuf(one, ExportTraceServiceRequest))]


def cpu(work: Callable[[], object], rounds: int, before: Callable[[], None] = lambda: None) -> float:
    """Return the least CPU seconds of `rounds` calls, each after one of `before`, which does not count."""
    best = float("inf")
    gc.collect()
    for _ in range(rounds):
        before()
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--spans", type=int, default=1_000_000, help="spans of the largest run")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    print(f"{'':>10} {'CPU ms':^47}   {'ms per 1,000 spans':^29} {'all':>6}")
    head = ("read", "forest", "tree", "all"), ("forest+tree", "forest+all")
    print(
        f"{'spans':>10} {''.join(f'{one:>12}' for one in head[0])} {''.join(f'{one:>15}' for one in head[1])} ratio"
    )
    count = 1_000
    while count <= arguments.spans:
        rounds = arguments.rounds if count < 1_000_000 else 2
        _line(list(requests_of(run_of(count))), rounds * (10 if count < 10_000 else 1))
        count *= 10

    spans = read(list(requests_of(run_of(min(100_000, arguments.spans)))))
    print(f"\neach alone, {len(spans):,} spans, CPU ms")
    facts = Facts(build(spans))
    for name, work in (
        ("looks", lambda: facts.columns.look),
        ("kinds and times", lambda: (facts.columns.kind, facts.columns.start, facts.columns.end)),
        ("hand-offs", lambda: facts.handoffs),
        ("lineage", lambda: facts.disagreements),
        ("layouts", lambda: facts.layouts),
        ("roles", lambda: facts.role),
        ("unusual fields", lambda: facts.unusual),
    ):
        print(f"{name:>26} {cpu(work, 1) * 1e3:9.1f}")
    for name, invariant in INVARIANTS.items():
        print(f"{name:>26} {cpu(partial(invariant.breaches, facts), arguments.rounds) * 1e3:9.1f}")


def _line(requests: Sequence[bytes], rounds: int) -> None:
    reading = cpu(lambda: read(requests), 1)
    spans = read(requests)
    facts = Facts(build(spans))

    def renew() -> None:
        nonlocal facts
        facts = Facts(build(spans))

    def look_up() -> None:
        found = {(span.trace_id, span.span_id): span for span in spans}
        for span in spans:
            found.get((span.trace_id, span.parent_span_id))

    assert not breaches_of(facts)
    least = cpu(look_up, rounds)
    forest = cpu(lambda: build(spans), rounds)
    tree = cpu(lambda: breaches_of(facts, UNIFYING), rounds, renew)
    everything = cpu(lambda: breaches_of(facts, NAMES), rounds, renew)
    thousands = len(spans) / 1e6
    print(
        f"{len(spans):>10,} {''.join(f'{one * 1e3:12.1f}' for one in (reading, forest, tree, everything))} "
        f"{(forest + tree) / thousands:15.2f}{(forest + everything) / thousands:15.2f} "
        f"{(forest + everything) / least:5.1f}"
    )


if __name__ == "__main__":
    main()
