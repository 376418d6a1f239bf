"""Property-based: a clean run has no finding; one fault gives exactly the finding that names it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handrail_harness.investigate import investigate
from handrail_harness.rules import NAMES, check
from handrail_harness.strategies import FAULTS, INVARIANT_FAULTS, Fault, Topology, run_of, topologies
from handrail_harness.strategies.edits import of_kind
from handrail_propagation.conventions import MESSAGE_PARENT_ID, MESSAGING_MESSAGE_ID

from .support.runs import MemorySource, edited


@given(topology=topologies())
def test_clean_runs_are_unified(topology: Topology) -> None:
    """A run without a fault keeps every invariant, with no finding and no culprit, whatever its shape."""
    source = MemorySource(run_of(topology).spans)
    assert check(source).problems() == []
    assert check(source).sound
    investigation = investigate(source)
    assert investigation.findings == ()
    assert investigation.culprit is None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@given(topology=topologies(), seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_one_fault_gives_exactly_its_finding(fault: Fault, topology: Topology, seed: int) -> None:
    """Each fault is reported as one finding, of its own name, at its own span, wherever in the run it is."""
    chance = random.Random(seed)
    spans, name, span_id = fault(run_of(topology).spans, chance.choice)
    chance.shuffle(spans)
    trace_id = f"{1:032x}"
    found = investigate(MemorySource(spans), trace_id).findings
    assert [(finding.name, finding.span.span_id) for finding in found] == [(name, span_id)]


@pytest.mark.parametrize("fault", INVARIANT_FAULTS, ids=lambda fault: fault.__name__)
@given(topology=topologies(), seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_one_fault_breaks_exactly_its_invariant(fault: Fault, topology: Topology, seed: int) -> None:
    """A fault that leaves the tree whole breaks one invariant, at its own span, and gives no finding."""
    chance = random.Random(seed)
    spans, name, span_id = fault(run_of(topology).spans, chance.choice)
    chance.shuffle(spans)
    report = check(MemorySource(spans))
    assert {(one.invariant, one.span.span_id) for one in report.breaches} == {(name, span_id)}
    assert report.unified
    assert not report.sound
    assert report.findings == ()


def test_every_invariant_has_a_fault_that_breaks_it() -> None:
    """None of the invariants is one that nothing could break."""
    broken: set[str] = set()
    for fault in (*FAULTS, *INVARIANT_FAULTS):
        spans = fault(run_of(Topology(delegates=(Topology(),))).spans, lambda choices: choices[0])[0]
        broken |= {one.invariant for one in check(MemorySource(spans), f"{1:032x}").breaches}
    assert broken == set(NAMES)


_EVERY = [None, *FAULTS, *INVARIANT_FAULTS]


@pytest.mark.parametrize("fault", _EVERY, ids=lambda fault: fault.__name__ if fault else "clean")
@given(topology=topologies(), seed=st.integers(0, 2**32))
@settings(max_examples=15)
def test_sending_again_changes_nothing(fault: Fault | None, topology: Topology, seed: int) -> None:
    """Whatever is exported twice, in whatever order: the same findings, the same breaches, the same verdict."""
    chance = random.Random(seed)
    clean = run_of(topology).spans
    spans = fault(clean, chance.choice)[0] if fault else list(clean)
    again = [*spans, *(replace(span) for span in chance.sample(spans, chance.randrange(len(spans))))]
    chance.shuffle(again)
    before, after = (check(MemorySource(some), f"{1:032x}") for some in (spans, again))
    assert after.unified == before.unified
    assert [one.document() for one in after.findings] == [one.document() for one in before.findings]
    assert [one.document() for one in after.breaches] == [one.document() for one in before.breaches]


@pytest.mark.parametrize("fault", _EVERY, ids=lambda fault: fault.__name__ if fault else "clean")
@given(topology=topologies(), seed=st.integers(0, 2**32))
@settings(max_examples=15)
def test_final_breaches_stay(fault: Fault | None, topology: Topology, seed: int) -> None:
    """What is broken for good in a part of a run is broken in the whole: no test fails for want of patience."""
    chance = random.Random(seed)
    clean = run_of(topology).spans
    spans = fault(clean, chance.choice)[0] if fault else list(clean)
    part = chance.sample(spans, chance.randint(1, len(spans)))
    final = {one.invariant for one in check(MemorySource(part)).final_breaches}
    assert final <= {one.invariant for one in check(MemorySource(spans), f"{1:032x}").breaches}


@given(topology=topologies(), seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_order_of_arrival_changes_nothing(topology: Topology, seed: int) -> None:
    """The same spans in another order give the same document."""
    spans = list(run_of(topology).spans)
    before = investigate(MemorySource(spans)).document()
    random.Random(seed).shuffle(spans)
    assert investigate(MemorySource(spans)).document() == before


def test_what_is_below_a_misplaced_receipt_is_not_blamed() -> None:
    """A receipt under the first send of all: the tasks below it, whose root the tree no longer shows, are fine."""
    spans = run_of(Topology(delegates=(Topology(delegates=(Topology(),)),))).spans
    first, *_, agent, below = sorted(of_kind(spans, "consumer"), key=lambda span: span.start_unix_nano)
    moved = edited(spans, agent, lambda span: replace(span, parent_span_id=first.parent_span_id))
    found = investigate(MemorySource(moved)).findings
    assert [(one.name, one.span.span_id) for one in found] == [("lineage_disagreement", agent.span_id)]
    assert below.text(MESSAGE_PARENT_ID) == agent.text(MESSAGING_MESSAGE_ID)
