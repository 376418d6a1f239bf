"""What the pure checker costs: forest, hand-offs, lineage and every invariant, in CPU time, up to a million spans.

    uv run python benchmarks/checker.py [--spans 1000000] [--rounds 5]

The runs are clean and shaped like real ones: agents that delegate, call models and tools, and spans of a database
below the tools. The ratio is to the same number of dictionary look-ups by span id, the least that any checker does.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from handrail_harness.forest import build
from handrail_harness.rules.facts import Facts
from handrail_harness.rules.table import INVARIANTS, UNIFYING, breaches_of
from handrail_harness.spans import Span
from handrail_harness.strategies.builder import RunBuilder


def spans_of_a_run(count: int) -> list[Span]:
    """Return `count` spans of one clean run."""
    run = RunBuilder()
    with run.handoff("planner"):
        while len(run.spans) < count:
            with run.handoff("worker", "because"):
                chat = run.chat()
                for _ in range(3):
                    with run.tool("look", "read", asked_by=chat):
                        run.add("SELECT", "client", {"db.system.name": "postgresql"})
                run.call("write", "write", asked_by=run.chat())
    # One resource object a process, as readers make them
    resource = run.spans[0].resource
    return [replace(span, resource=resource) for span in run.spans][: count or None]


def cpu(work: Callable[[], object], rounds: int) -> float:
    """Return the least CPU seconds of `rounds` calls."""
    best = float("inf")
    for _ in range(rounds):
        gc.collect()
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--spans", type=int, default=1_000_000, help="spans of the largest run")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    print(f"{'spans':>10} {'forest':>10} {'tree':>10} {'all':>10} {'all, µs/span':>14} {'ratio':>7}")
    count = 1_000
    while count <= arguments.spans:
        rounds = arguments.rounds if count < 1_000_000 else 2
        _line(spans_of_a_run(count), rounds)
        count *= 10

    print("\neach alone, 100,000 spans, CPU ms (facts worked out before)")
    facts = Facts(build(spans_of_a_run(min(100_000, arguments.spans))))
    breaches_of(facts)
    for name, invariant in INVARIANTS.items():
        print(f"{name:>26} {cpu(partial(invariant.breaches, facts), arguments.rounds) * 1e3:9.1f}")


def _line(spans: Sequence[Span], rounds: int) -> None:
    def look_up() -> None:
        found = {(span.trace_id, span.span_id): span for span in spans}
        for span in spans:
            found.get((span.trace_id, span.parent_span_id))

    least = cpu(look_up, rounds)
    forest = cpu(lambda: build(spans), rounds)
    tree = cpu(lambda: breaches_of(Facts(build(spans)), UNIFYING), rounds)
    everything = cpu(lambda: breaches_of(Facts(build(spans))), rounds)
    assert not breaches_of(Facts(build(spans)), UNIFYING)
    print(
        f"{len(spans):>10,} {_ms(forest)} {_ms(tree)} {_ms(everything)} "
        f"{everything / len(spans) * 1e6:14.2f} {everything / least:7.1f}"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:7.1f} ms"


if __name__ == "__main__":
    main()
