"""Property-based: what a check tells by a screen over all spans is what looking closely at every span tells."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

from handrail_harness.columns import KINDS
from handrail_harness.forest import build, key_of
from handrail_harness.rules import INVARIANTS, Facts, InvariantName
from handrail_harness.rules.ancestry import receipts_above
from handrail_harness.rules.facts import ROLES
from handrail_harness.rules.handoffs import message_id_of
from handrail_harness.rules.lineage import disagreements, explain
from handrail_harness.rules.screened import Screened
from handrail_harness.spans import LogEvent, Span
from handrail_harness.strategies import run_of
from handrail_harness.strategies.topologies import Topology

from .support.broken import broken_runs

Run = tuple[list[Span], list[LogEvent]]
SCREENED = {name: row.check for name, row in INVARIANTS.items() if isinstance(row.check, Screened)}


@given(run=broken_runs())
@settings(max_examples=300)
def test_no_screen_misses_anything(run: Run) -> None:
    """However a run is broken: every place that explaining all spans finds is found by explaining the suspects."""
    facts = Facts(build(run[0]), run[1])
    for name, check in SCREENED.items():
        everywhere = check.explain(facts, range(len(facts.spans)))
        assert Counter(map(repr, check(facts))) == Counter(map(repr, everywhere)), name


@pytest.mark.parametrize("name", SCREENED)
def test_a_screen_is_one(name: InvariantName) -> None:
    """In a clean run a screen names none of the spans that the invariant has nothing against."""
    facts = Facts(build(run_of(Topology(("read", "write"), (Topology(delegates=(Topology(),)),))).spans))
    assert len(SCREENED[name].screen(facts)) == 0


@given(run=broken_runs())
@settings(max_examples=300)
def test_no_disagreement_of_lineage_is_missed(run: Run) -> None:
    """Told for the receipts that do not agree at a glance, or for every one with its links: the same."""
    forest = build(run[0])
    handoffs = Facts(forest).handoffs
    known = (*handoffs.stray, *(consumer for _, consumer in handoffs.mismatched))
    skip = {key_of(span) for span in known}
    every = [
        at
        for at, span in enumerate(forest.distinct)
        if span.kind == "consumer" and forest.by_key[key_of(span)] is span and key_of(span) not in skip
    ]
    assert disagreements(forest, known) == explain(forest, receipts_above(forest.columns), every, skip)


@given(run=broken_runs())
@settings(max_examples=100)
def test_hand_offs_are_those_of_the_tree(run: Run) -> None:
    """Unreceived, stray and mismatched are what climbing the forest span by span says."""
    forest = build(run[0])
    handoffs = Facts(forest).handoffs
    parents = {id(span): forest.parent_of(span) for span in forest.distinct}
    consumers = [span for span in forest.distinct if span.kind == "consumer"]
    assert set(map(id, handoffs.unreceived)) == {
        id(span)
        for span in forest.distinct
        if span.kind == "producer"
        and span.status_code != "error"
        and all(below.kind != "consumer" for below in forest.children_of(span))
    }
    received = {
        id(one): parent for one in consumers if (parent := parents[id(one)]) and parent.kind == "producer"
    }
    assert {id(one) for one in handoffs.stray} == {id(one) for one in consumers} - set(received)
    assert {(id(send), id(one)) for send, one in handoffs.mismatched} == {
        (id(send), id(one))
        for one in consumers
        if (send := received.get(id(one))) is not None
        and message_id_of(send)
        and message_id_of(one)
        and message_id_of(send) != message_id_of(one)
    }


@given(run=broken_runs())
@settings(max_examples=100)
def test_layouts_are_the_spans_by_look(run: Run) -> None:
    """A span is in one layout only, that of its look; roles and kinds by look are those of the spans."""
    facts = Facts(build(run[0]))
    assert [ROLES[number] for number in facts.role] == [span.look.role for span in facts.spans]
    assert [*facts.columns.kind] == [KINDS[span.kind] for span in facts.spans]
    found = sorted(at for layout in facts.layouts for at in layout.positions.tolist())
    assert found == list(range(len(facts.spans)))
    for layout in facts.layouts:
        assert {facts.spans[at].look for at in layout.positions} == {layout.look}
        for key in layout.look.keys:
            values = [facts.spans[at].attributes[key] for at in layout.positions]
            assert list(map(id, layout.column(key))) == list(map(id, values))
