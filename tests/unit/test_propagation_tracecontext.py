"""W3C Trace Context Level 2 and W3C Baggage, as tables of headers in and what comes of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage as otel_baggage
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from handrail_propagation import baggage, carrier, tracecontext
from handrail_propagation.lineage import run_id_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "header",
    [GOOD, f"  {GOOD}\t", f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}-00"],
)
def test_traceparents_that_count(header: str) -> None:
    """Version 00 exactly; a later version by its first four fields; optional white space around it."""
    context = tracecontext.parse([header], [])
    assert context is not None
    assert f"{context.trace_id:032x}-{context.span_id:016x}" == f"{TRACE}-{SPAN}"
    assert context.is_remote


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        [GOOD, GOOD],
        [GOOD.upper()],
        [f"{GOOD}-"],
        [f"{GOOD}."],
        [f"ff-{TRACE}-{SPAN}-01"],
        [f"cc-{TRACE}-{SPAN}-01.more"],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE}0-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}-1"],
        [f"00-{TRACE}-{SPAN}-001"],
        [f"0-{TRACE}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}"],
        [f"00-{TRACE[:-1]}٣-{SPAN}-01"],
        [f"cc-{TRACE}-{SPAN}-01-" + "x" * 600],
    ],
)
def test_traceparents_that_do_not_count(headers: list[str]) -> None:
    """Anything else names no span, two headers included."""
    assert tracecontext.parse(headers, []) is None


@st.composite
def nearly_good(draw: st.DrawFn) -> str:
    """A traceparent with some characters replaced, cut out or put in."""
    text = f"00-{draw(st.integers(0, 1 << 128)):032x}-{draw(st.integers(0, 1 << 64)):016x}-0{draw(st.integers(0, 9))}"
    for _ in range(draw(st.integers(0, 2))):
        at, cut = draw(st.integers(0, 55)), draw(st.integers(0, 1))
        text = text[:at] + draw(st.text("0fAFgx-_+ \t\n٣\uff41", max_size=1)) + text[at + cut :]
    return text


@given(nearly_good() | st.text(max_size=60))
def test_usual_traceparents_are_read_as_all_others(text: str) -> None:
    """The quick way for the usual form takes nothing else, and says of it what the grammar does."""
    by_the_grammar = tracecontext.parse([text], [""])  # an empty tracestate says nothing, and is not usual
    assert tracecontext.parse([text], []) == by_the_grammar


@given(st.integers(1, (1 << 128) - 1), st.integers(1, (1 << 64) - 1), st.integers(0, 3))
def test_a_traceparent_comes_back_as_it_went_out(trace_id: int, span_id: int, flags: int) -> None:
    """What is formatted names the same span again, in the form of version 00."""
    context = SpanContext(trace_id, span_id, True, TraceFlags(flags))
    text = tracecontext.format_traceparent(context)
    assert text == f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"
    assert tracecontext.parse([text], []) == context


@pytest.mark.parametrize(("flags", "kept"), [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("ff", 3)])
def test_known_flags_are_kept_and_unknown_ones_not(flags: str, kept: int) -> None:
    """Sampled and random pass; bits that a later version may define are cleared."""
    context = tracecontext.parse([f"00-{TRACE}-{SPAN}-{flags}"], [])
    assert context is not None
    assert int(context.trace_flags) == kept
    assert tracecontext.format_traceparent(context) == f"00-{TRACE}-{SPAN}-{kept:02x}"


@pytest.mark.parametrize(
    ("values", "entries"),
    [
        (["foo=1"], {"foo": "1"}),
        (["foo=1", "bar=2"], {"foo": "1", "bar": "2"}),
        (["", "foo=1,,"], {"foo": "1"}),
        (["foo=1 \t , \t bar=2"], {"foo": "1", "bar": "2"}),
        (["z" * 256 + "=1"], {"z" * 256: "1"}),
        (["t" * 241 + "@" + "v" * 14 + "=1"], {"t" * 241 + "@" + "v" * 14: "1"}),
        (["0tenant@sys=v w"], {"0tenant@sys": "v w"}),
        ([",".join(f"k{n}=1" for n in range(32))], {f"k{n}": "1" for n in range(32)}),
        ([",".join(f"k{n}=1" for n in range(33))], None),
        (["foo=1,foo=2"], None),
        (["foo =1"], None),
        (["FOO=1"], None),
        (["foo.bar=1"], None),
        (["foo@=1"], None),
        (["@foo=1"], None),
        (["foo@@bar=1"], None),
        (["foo=bar=baz"], None),
        (["foo=,bar=3"], None),
        (["z" * 257 + "=1"], None),
        (["foo=" + "v" * 257], None),
        (["foo=\x07"], None),
        (["x" * 100_000], None),
    ],
)
def test_tracestate_grammar(values: list[str], entries: dict[str, str] | None) -> None:
    """Entries are kept in order or, when one breaks the grammar, dropped together; the traceparent stays."""
    context = tracecontext.parse([GOOD], values)
    assert context is not None
    assert dict(context.trace_state) == (entries or {})


def test_tracestate_is_shortened_by_whole_entries_long_ones_first() -> None:
    """Above 512 characters entries over 128 go first, then the last ones; the first ones survive."""
    entries = [("first", "1"), ("long", "x" * 200), *((f"k{n}", "y" * 30) for n in range(20))]
    header = tracecontext.format_tracestate(TraceState(entries))
    kept = [member.partition("=")[0] for member in header.split(",")]
    assert len(header) <= 512
    assert kept == ["first", *(f"k{n}" for n in range(len(kept) - 1))]
    assert len(header) + len("k20=") + 31 > 512


@given(
    st.dictionaries(
        st.text(max_size=12), st.one_of(st.text(max_size=80), st.binary(), st.none(), st.integers())
    )
)
def test_no_header_raises(headers: dict[str, Any]) -> None:
    """Whatever a message holds, extracting never raises and never invents a span."""
    received = carrier.extract(headers)
    assert received.creation is None or received.creation.is_valid


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": 7, "tracestate": {}, "baggage": [1, 2]},
        {"traceparent": b"\xff\xfe", "baggage": b"\xff=1"},
        {"traceparent": None, "TRACEPARENT": GOOD, "traceParent": GOOD},
        {7: "x", None: "y", b"traceparent": GOOD},
    ],
)
def test_mistyped_headers_name_no_span(headers: dict[Any, Any]) -> None:
    """Wrong types are no values; a name that occurs twice in different spellings counts as duplicated."""
    assert carrier.extract(headers).creation is None


def test_casing_and_lists_of_values() -> None:
    """Names match in any case; a list (a repeated header) of one is that value, of two is a duplicate."""
    assert carrier.extract({"TraceParent": GOOD}).creation is not None
    assert carrier.extract({"traceparent": [GOOD]}).creation is not None
    assert carrier.extract({"traceparent": [GOOD, GOOD]}).creation is None


def test_injecting_replaces_what_was_there() -> None:
    """Stale W3C headers in any spelling go, even when there is nothing to put in their place."""
    headers = {"Traceparent": GOOD, "TRACESTATE": "a=1", "baggage": "k=v", "custom": "stays"}
    carrier.inject(headers, Context())
    assert headers == {"custom": "stays"}


def test_a_round_trip_keeps_context_state_and_flags() -> None:
    """What was extracted is what would be injected from the same context."""
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-03", "tracestate": "a=1,b=2", "baggage": "agent.run.id=r"}
    out: dict[str, str] = {}
    carrier.inject(out, carrier.extract(headers).context)
    assert out == headers


KEYS = ("agent.run.id", "tenant")


def round_trip(header: str) -> str:
    return baggage.format(baggage.parse([header], KEYS, Context()), KEYS)


@pytest.mark.parametrize(
    ("header", "out"),
    [
        ("agent.run.id=r-1", "agent.run.id=r-1"),
        (" agent.run.id = r-1 ", "agent.run.id=r-1"),
        ("agent.run.id=a+b", "agent.run.id=a+b"),
        ("agent.run.id=a%20b%2Cc%3B", "agent.run.id=a%20b%2Cc%3B"),
        ("agent.run.id=r;prop=1;other", "agent.run.id=r;prop=1;other"),
        ("agent.run.id=1,agent.run.id=2", "agent.run.id=2"),
        ("secret=s,agent.run.id=r,tenant=t", "agent.run.id=r,tenant=t"),
        ("agent.run.id", ""),
        ("=x,,;", ""),
        ("agent.run.id=%ff", "agent.run.id=%EF%BF%BD"),
        ("agent.run.id=\xfc,tenant=\udcff", ""),
    ],
)
def test_baggage_round_trips(header: str, out: str) -> None:
    """Allowed entries come back as they were, with properties and plus signs; others do not travel."""
    assert round_trip(header) == out


def test_baggage_limits_cut_whole_entries() -> None:
    """At most 64 entries and 8,192 bytes, and never half an entry."""
    many = ",".join(f"x{n}=1" for n in range(64)) + ",agent.run.id=late"
    assert round_trip(many) == ""
    assert round_trip("x=" + "y" * 8200 + ",agent.run.id=late") == ""
    assert round_trip("agent.run.id=" + "y" * 8200) == ""
    assert round_trip("agent.run.id=early,x=" + "y" * 9000) == "agent.run.id=early"
    big = otel_baggage.set_baggage("agent.run.id", "z" * 9000, Context())
    assert baggage.format(otel_baggage.set_baggage("tenant", "t", big), KEYS) == "tenant=t"


def test_a_run_id_is_short() -> None:
    """What is longer than 128 characters is no run id: it would be on every span of the run."""
    for length, found in ((128, "r" * 128), (129, None)):
        context = carrier.extract({"baggage": "agent.run.id=" + "r" * length}).context
        assert run_id_of(context) == found


def test_properties_belong_to_their_value() -> None:
    """A value that was changed leaves the properties of the old one behind; a removed entry stays away."""
    context = baggage.parse(["agent.run.id=old;p=1"], KEYS, Context())
    assert (
        baggage.format(otel_baggage.set_baggage("agent.run.id", "new", context), KEYS) == "agent.run.id=new"
    )
    assert baggage.format(otel_baggage.remove_baggage("agent.run.id", context), KEYS) == ""


@pytest.mark.parametrize(
    ("trust", "parent", "link"), [("continue", True, True), ("restart", False, True), ("drop", False, False)]
)
def test_trust(trust: Any, parent: bool, link: bool) -> None:
    """continue: the claimed span is the parent; restart: only known; drop: as if there were none."""
    from opentelemetry.trace import get_current_span

    received = carrier.extract({"traceparent": GOOD, "baggage": "agent.run.id=r"}, trust=trust)
    assert get_current_span(received.context).get_span_context().is_valid is parent
    assert (otel_baggage.get_baggage("agent.run.id", received.context) == "r") is parent
    assert (received.creation is not None) is link


def test_format_of_local_context() -> None:
    """Ids are padded, flags are two digits."""
    assert (
        tracecontext.format_traceparent(SpanContext(1, 2, False, TraceFlags(1)))
        == f"00-{'1':0>32}-{'2':0>16}-01"
    )
