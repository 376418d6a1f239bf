"""The forest: roots, orphans, duplicates and loops as exported; nothing in it breaks on hostile traces."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail_harness.forest import Key, build, key_of, parent_key_of
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


spelled = st.sampled_from(
    ["", "0", "0" * 16, "a" * 16, "A" * 16, "b" * 16, " " * 16, "b" * 15, "b" * 17, "é"]
)
hexadecimal = st.sampled_from(["0" * 16, *(digit * 16 for digit in "123af")])


@pytest.mark.parametrize("spelling", [spelled, hexadecimal], ids=["spelled anyhow", "as W3C has them"])
@given(data=st.data())
def test_the_tree_is_what_a_dictionary_says(spelling: st.SearchStrategy[str], data: st.DataObject) -> None:
    """However ids are spelled, in one trace or several: parents, roots, orphans and links are found by equal ids."""
    one = st.builds(
        Span,
        st.sampled_from(["c" * 32, "d" * 32, "e"]),
        spelling,
        spelling | st.just(""),
        st.sampled_from(["s", "t"]),
        st.just("internal"),
        st.integers(0, 3),
        st.just(4),
    )
    spans = data.draw(st.lists(one, max_size=12))
    forest = build(spans)
    first: dict[Key, Span] = {}
    for span in forest.distinct:
        first.setdefault(key_of(span), span)
    parents = [first.get(above) if (above := parent_key_of(span)) else None for span in forest.distinct]
    assert list(map(id, forest.parents)) == list(map(id, parents))
    assert set(map(id, forest.roots)) == {id(one) for one in forest.distinct if parent_key_of(one) is None}
    assert set(map(id, forest.orphans)) == {
        id(span)
        for span, parent in zip(forest.distinct, parents, strict=True)
        if parent is None and parent_key_of(span) is not None
    }
    assert set(map(key_of, forest.distinct)) == set(map(key_of, spans))
    assert len(forest.distinct) == len({repr(span) for span in spans})
    wanted = data.draw(st.lists(st.tuples(st.sampled_from(["c" * 32, "d" * 32, "f"]), spelled | hexadecimal)))
    found = forest.columns.find([trace for trace, _ in wanted], [span_id for _, span_id in wanted]).tolist()
    assert [forest.distinct[at] if at >= 0 else None for at in found] == [first.get(key) for key in wanted]


@pytest.mark.parametrize("latest", [2**63 - 1, 2**63, 2**64 - 1])
def test_times_are_exact_as_far_as_otlp_goes(latest: int) -> None:
    """Times beyond signed 64 bits neither fail nor wrap: a nanosecond's difference is one."""
    forest = build([span("a", "b", start=latest - 1), span("b", "a", start=latest)])
    assert [[member.span_id for member in loop] for loop in forest.loops] == [["a", "b"]]
    assert (forest.columns.start - forest.columns.start[::-1]).tolist() == [-1, 1]
    assert forest.columns.end.tolist() == [latest, latest + 1]


def test_nothing_is_changed() -> None:
    """Building leaves every span as it was."""
    spans = [span("r"), span("a", "a"), span("a", "gone")]
    before = [replace(one) for one in spans]
    assert list(build(spans).spans) == before
