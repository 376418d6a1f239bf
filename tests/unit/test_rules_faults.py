"""Property-based: a clean run has no finding; one fault gives exactly the finding that names it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handrail_harness.investigate import investigate
from handrail_harness.rules import check

from .support.faults import FAULTS, Fault
from .support.runs import MemorySource
from .support.topologies import agents, draw_run


@given(topology=agents)
def test_clean_runs_are_unified(topology: Any) -> None:
    """A run without a fault is one unified tree with no finding and no culprit, whatever its shape."""
    source = MemorySource(draw_run(topology).spans)
    assert check(source).unified
    investigation = investigate(source)
    assert investigation.findings == ()
    assert investigation.culprit is None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@given(topology=agents, seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_one_fault_gives_exactly_its_finding(fault: Fault, topology: Any, seed: int) -> None:
    """Each fault is reported as one finding, of its own name, at its own span, wherever in the run it is."""
    chance = random.Random(seed)
    spans, name, span_id = fault(draw_run(topology).spans, chance.choice)
    chance.shuffle(spans)
    trace_id = f"{1:032x}"
    found = investigate(MemorySource(spans), trace_id).findings
    assert [(finding.name, finding.span.span_id) for finding in found] == [(name, span_id)]


@given(topology=agents, seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_order_of_arrival_changes_nothing(topology: Any, seed: int) -> None:
    """The same spans in another order give the same document."""
    spans = list(draw_run(topology).spans)
    before = investigate(MemorySource(spans)).document()
    random.Random(seed).shuffle(spans)
    assert investigate(MemorySource(spans)).document() == before
