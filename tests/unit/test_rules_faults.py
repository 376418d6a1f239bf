"""Property-based: a clean run has no finding; one fault gives exactly the finding that names it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handrail_harness.investigate import investigate
from handrail_harness.rules import check
from handrail_propagation.conventions import MESSAGE_PARENT_ID, MESSAGING_MESSAGE_ID

from .support.faults import FAULTS, Fault, of_kind
from .support.runs import MemorySource, edited
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


@pytest.mark.parametrize("fault", [None, *FAULTS], ids=lambda fault: fault.__name__ if fault else "clean")
@given(topology=agents, seed=st.integers(0, 2**32))
@settings(max_examples=15)
def test_sending_again_changes_nothing(fault: Fault | None, topology: Any, seed: int) -> None:
    """Whatever is exported twice, in whatever order: the same findings, the same breaches, the same verdict."""
    chance = random.Random(seed)
    clean = draw_run(topology).spans
    spans = fault(clean, chance.choice)[0] if fault else list(clean)
    again = [*spans, *(replace(span) for span in chance.sample(spans, chance.randrange(len(spans))))]
    chance.shuffle(again)
    before, after = (check(MemorySource(some), f"{1:032x}") for some in (spans, again))
    assert after.unified == before.unified
    assert [one.document() for one in after.findings] == [one.document() for one in before.findings]
    assert [one.document() for one in after.breaches] == [one.document() for one in before.breaches]


@given(topology=agents, seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_order_of_arrival_changes_nothing(topology: Any, seed: int) -> None:
    """The same spans in another order give the same document."""
    spans = list(draw_run(topology).spans)
    before = investigate(MemorySource(spans)).document()
    random.Random(seed).shuffle(spans)
    assert investigate(MemorySource(spans)).document() == before


def test_what_is_below_a_misplaced_receipt_is_not_blamed() -> None:
    """A receipt under the first send of all: the tasks below it, whose root the tree no longer shows, are fine."""
    spans = draw_run(((), (((), (((), ()),)),))).spans
    first, *_, agent, below = sorted(of_kind(spans, "consumer"), key=lambda span: span.start_unix_nano)
    moved = edited(spans, agent, lambda span: replace(span, parent_span_id=first.parent_span_id))
    found = investigate(MemorySource(moved)).findings
    assert [(one.name, one.span.span_id) for one in found] == [("lineage_disagreement", agent.span_id)]
    assert below.text(MESSAGE_PARENT_ID) == agent.text(MESSAGING_MESSAGE_ID)
