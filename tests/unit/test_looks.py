"""What spans look like: told once, whole, and never mixed up, however a span is made."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from handrail_harness import looks
from handrail_harness.attributes import AGENT_ATTRIBUTES, SHORT
from handrail_harness.forest import build
from handrail_harness.looks import TELLING
from handrail_harness.roles import role_of
from handrail_harness.rules import Facts
from handrail_harness.rules.semconv import CONVENTIONS
from handrail_harness.rules.table import breaches_of
from handrail_harness.spans import AttributeValue, LogEvent, Span, SpanEvent
from handrail_harness.strategies import run_of
from handrail_harness.strategies.topologies import Topology
from handrail_propagation import conventions as c

from .support.broken import broken_runs


def read_as(value: AttributeValue) -> str:
    """The type of a value, told the long way."""
    if isinstance(value, str):
        return "text" if len(value) > SHORT else "string" if value else "empty"
    if isinstance(value, list):
        return "string[]" if all(isinstance(one, str) for one in value) else "other"
    names = ((bool, "boolean"), (int, "int"), (float, "double"))
    return next((name for kind, name in names if isinstance(value, kind)), "other")


def assert_seen(span: Span) -> None:
    """A span's look says what the span says."""
    look = span.look
    assert (look.kind, look.scope, look.status) == (span.kind, span.scope_name, span.status_code)
    assert look.role == role_of(span.kind, span.name, span.attributes)
    assert look.plain == (not (span.events or span.status_message or span.trace_state or span.flags & 0xFF))
    assert look.keys == tuple(span.attributes)
    assert look.types == tuple(map(read_as, span.attributes.values()))
    assert look.told == {
        key: value
        for key, value in span.attributes.items()
        if key in TELLING and isinstance(value, str) and 0 < len(value) <= SHORT
    }
    assert look.name == (span.name if look.name is not None else None)
    assert look.name is not None or look.role == "other" or len(span.name) > SHORT


@given(run=broken_runs())
@settings(max_examples=200)
def test_a_look_is_what_the_span_says(run: tuple[list[Span], list[LogEvent]]) -> None:
    """Role, types, told values, name: those of the span, be its look new or one of a span before it."""
    for span in run[0]:
        assert_seen(span)


WORDS = ("string", "empty", "text", "read", "executed", "", "x" * (SHORT + 1), c.DECISION_RISK, c.APPROVAL_ID)
NAMES = ("await_approval drop", "await_approval" + "x" * SHORT, "x" * (SHORT + 1), "chat", "")
KEYS = (
    *WORDS[:4],
    c.RUN_ID,
    c.DECISION_RISK,
    c.GEN_AI_OPERATION_NAME,
    c.MESSAGING_OPERATION_NAME,
    c.APPROVAL_ID,
)
VALUES = st.sampled_from((*WORDS, "chat", "ack", 1, True, 1.5, None, b"x", ["a"], ["a", 1], [], {"a": "b"}))


@given(
    made=st.lists(
        st.tuples(
            st.sampled_from(("client", "internal", "producer")),
            st.sampled_from(NAMES),
            st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4),
        ),
        min_size=2,
        max_size=8,
    )
)
@example(
    # A short name of a wait for a human, and a longer one that begins like it
    made=[
        ("internal", "await_approval drop", {c.APPROVAL_ID: "1"}),
        ("internal", "x" * 99, {c.APPROVAL_ID: "1"}),
    ]
)
@settings(max_examples=300)
def test_spans_that_differ_do_not_share_a_look(
    made: list[tuple[str, str, dict[str, AttributeValue]]],
) -> None:
    """Not even where keys, types and values are made of the same words, to be taken for one another."""
    for kind, name, attributes in made:
        assert_seen(Span("1" * 32, "1" * 16, "", name, kind, 1, 2, attributes))  # type: ignore[arg-type]


def test_what_makes_a_span_unusual_is_seen() -> None:
    """An event, a status description, a tracestate or W3C flags; other flags make none."""
    usual = Span("1" * 32, "1" * 16, "", "x", "internal", 1, 2)
    assert usual.look.plain
    assert replace(usual, flags=0x300).look is usual.look
    for field in (
        {"events": (SpanEvent("e", 1),)},
        {"status_message": "x"},
        {"trace_state": "a=b"},
        {"flags": 0x101},
    ):
        assert not replace(usual, **field).look.plain  # type: ignore[arg-type]


def test_a_copy_with_other_attributes_looks_different() -> None:
    """A look is never carried over from the span that a copy was made of."""
    span = Span("1" * 32, "1" * 16, "", "x", "internal", 1, 2, {c.DECISION_RISK: "read"})
    assert replace(span, attributes={c.DECISION_RISK: "write"}).look.told == {c.DECISION_RISK: "write"}


def test_the_looks_of_a_hostile_trace_are_not_kept_for_good() -> None:
    """Ten thousand looks: the table stays small, and a breach among them is found all the same."""
    spans = [
        replace(span, attributes={**span.attributes, f"key{number % 10_000}": number})
        for number, span in enumerate(run_of(Topology(("read", "write"))).spans * 1_500)
    ]
    spans = [replace(span, span_id=f"{at + 1:016x}", parent_span_id="") for at, span in enumerate(spans)]
    spans[7_777] = replace(spans[7_777], attributes={**spans[7_777].attributes, c.RUN_ID: 1})
    assert len(spans) > 10_000
    assert len(looks._LOOKS) <= looks._MOST
    found = {breach.span.span_id for breach in breaches_of(Facts(build(spans)), ["conventions"])}
    assert found == {f"{7_778:016x}"}


def test_what_the_conventions_ask_for_is_told() -> None:
    """The attributes that spans are named after, and every enumeration of ours."""
    assert {one.named_after for one in CONVENTIONS.values()} - {None} <= TELLING
    assert {key for key, one in AGENT_ATTRIBUTES.items() if one.values} <= TELLING


def test_the_table_of_looks_holds_no_long_text() -> None:
    """A megabyte of a name or a value is not kept because a span once had it."""
    long = "x" * 1_000_000
    for span in (
        Span("1" * 32, "1" * 16, "", long, "client", 1, 2, {c.GEN_AI_OPERATION_NAME: "chat", c.RUN_ID: long}),
        Span("1" * 32, "1" * 16, "", "x", "client", 1, 2, {long: 1}),
        Span("1" * 32, "1" * 16, "", "x", "client", 1, 2, scope_name=long),
    ):
        assert_seen(span)
        assert all(len(repr(known)) < 100_000 for known in looks._LOOKS)
