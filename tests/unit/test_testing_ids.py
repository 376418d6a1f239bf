"""Ids of spans in tests: nothing that a test seeds may give two runs the same trace."""

from __future__ import annotations

import random

from handrail_harness.testing.collector import Collector


def test_seeding_random_repeats_no_trace() -> None:
    """After the same seed, as hypothesis and pytest-randomly set it for each test, a root has another trace id."""
    collector = Collector()
    tracer = collector.tracer_provider.get_tracer("tests")
    state, found = random.getstate(), set[tuple[int, int]]()
    for _ in range(3):
        random.seed(0)
        context = tracer.start_span("root").get_span_context()
        found.add((context.trace_id, context.span_id))
    random.setstate(state)
    collector.close()
    assert len({trace for trace, _ in found}) == len({span for _, span in found}) == 3
