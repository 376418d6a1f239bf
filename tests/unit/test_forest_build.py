"""The forest: roots, orphans, duplicates and loops as exported; nothing in it breaks on hostile traces."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from handrail_harness.forest import build, key_of
from handrail_harness.spans import Span

TRACE = "a" * 32


def span(span_id: str, parent: str = "", name: str = "s", start: int = 0, trace: str = TRACE) -> Span:
    return Span(trace, span_id, parent, name, "internal", start, start + 1)


def test_children_are_in_order_of_start() -> None:
    """Children come earliest first, however they arrived."""
    forest = build([span("b", "r", start=2), span("r"), span("a", "r", start=1)])
    assert [child.span_id for child in forest.children_of(forest.roots[0])] == ["a", "b"]


def test_an_all_zero_parent_is_no_parent() -> None:
    """Exporters that write the all-zero id for "no parent" write a root."""
    assert [root.span_id for root in build([span("a", "0" * 16)]).roots] == ["a"]


def test_missing_parents_stay_missing() -> None:
    """A span whose parent is not there is an orphan, never a root and never hung elsewhere."""
    forest = build([span("r"), span("a", "gone"), span("b", "a")])
    assert [orphan.span_id for orphan in forest.orphans] == ["a"]
    assert [root.span_id for root in forest.roots] == ["r"]


def test_a_parent_in_another_trace_is_no_parent() -> None:
    """Span ids are only unique within a trace: the same id in another trace is another span."""
    forest = build([span("r"), span("a", "r", trace="b" * 32)])
    assert [orphan.span_id for orphan in forest.orphans] == ["a"]


def test_identical_copies_are_told_from_differing_ones() -> None:
    """A span sent twice and a span id used twice are both duplicates, and told apart."""
    forest = build([span("r"), span("r"), span("a", "r"), span("a", "r", name="other")])
    assert {(twice.key[1], twice.identical, len(twice.copies)) for twice in forest.duplicates} == {
        ("r", True, 2),
        ("a", False, 2),
    }
    assert len(forest.roots) == 1
    assert len(forest.children_of(forest.roots[0])) == 2


def test_a_span_that_is_its_own_parent_is_a_loop_of_one() -> None:
    """A self-parent is neither root nor orphan: it is a loop, and is still walked."""
    forest = build([span("r"), span("a", "a"), span("b", "a")])
    assert [[member.span_id for member in loop] for loop in forest.loops] == [["a"]]
    assert {walked.span_id for walked, _, _ in forest.walk()} == {"r", "a", "b"}


def test_a_loop_of_three_is_found_once() -> None:
    """A circle of parents is one loop, beginning with its earliest member."""
    forest = build([span("c", "b", start=3), span("a", "c", start=1), span("b", "a", start=2)])
    assert [[member.span_id for member in loop] for loop in forest.loops] == [["a", "c", "b"]]
    assert [top.span_id for top in forest.tops()] == ["a"]


def test_ancestors_end_in_a_loop() -> None:
    """Climbing a circle of parents comes to an end."""
    forest = build([span("a", "b"), span("b", "a"), span("c", "a")])
    assert [above.span_id for above in forest.ancestors_of(forest.by_key[TRACE, "c"])] == ["a", "b"]


def test_deep_chains_need_no_stack() -> None:
    """A chain of 100,000 spans is built and walked without recursion."""
    depth = 100_000
    chain = [span(str(at), str(at - 1) if at > 1 else "", start=at) for at in range(1, depth + 1)]
    forest = build(reversed(chain))
    assert max(level for _, _, level in forest.walk()) == depth - 1
    assert sum(1 for _ in forest.ancestors_of(chain[-1])) == depth - 1


ids = st.sampled_from("abcdef")


@given(st.lists(st.tuples(ids, st.sampled_from(["", *"abcdefgh"]), st.integers(0, 3)), max_size=14))
def test_every_span_is_accounted_for(drawn: list[tuple[str, str, int]]) -> None:
    """Whatever the parents say: each span is walked exactly once, except identical copies of one that is."""
    spans = [span(span_id, parent, start=start) for span_id, parent, start in drawn]
    forest = build(spans)
    walked = [one for one, _, _ in forest.walk()]
    assert len({id(one) for one in walked}) == len(walked)
    repeated = {id(copy) for twice in forest.duplicates for copy in twice.copies}
    kept = {id(copy) for twice in forest.duplicates for copy in twice.different}
    assert {id(one) for one in walked} == {id(one) for one in spans} - repeated | kept
    assert {repr(one) for one in walked} == {repr(one) for one in spans}
    assert forest.spans == tuple(spans)


@given(
    st.permutations([span("r"), span("a", "r", start=1), span("b", "gone", start=2), span("c", "c", start=3)])
)
def test_order_of_arrival_changes_nothing(spans: list[Span]) -> None:
    """Roots, orphans and loops are the same in whatever order spans arrive."""
    forest = build(spans)
    assert [key_of(one) for one in forest.tops()] == [(TRACE, "r"), (TRACE, "b"), (TRACE, "c")]


def test_nothing_is_changed() -> None:
    """Building leaves every span as it was."""
    spans = [span("r"), span("a", "a"), span("a", "gone")]
    before = [replace(one) for one in spans]
    assert list(build(spans).spans) == before
