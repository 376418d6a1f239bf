"""The short ways of encoding usual messages' spans say what the long ways say, byte for byte."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common._internal.trace_encoder import _encode_span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, SpanKind, TraceFlags, TraceState

from handrail_propagation import carrier, processspan, publishing
from handrail_propagation.messagespan import SpanTemplate
from handrail_propagation.messagetracer import MessageTracer
from handrail_propagation.otlp import details, messages
from handrail_propagation.otlp.values import MAX_PREFIXES, Attributes, Prefixes
from handrail_propagation.otlp.wire import Unusual

IDS = st.uuids().map(str)
TEXTS = IDS | st.text(st.characters(exclude_categories=["Cs"]), max_size=600)
MAYBE = st.just("") | TEXTS
NOW = 1_764_043_200_123_456
SENT = (
    st.integers(NOW - 10**9, NOW + 10**9)
    | st.integers()
    | st.floats()
    | st.none()
    | st.sampled_from([0, 1, NOW // 10**6 * 10**6])
)


def _long(expand: Any, values: Any) -> bytes:
    return Attributes(0x4A).encode(expand(values))


@st.composite
def _process(draw: st.DrawFn) -> Any:
    task_id = draw(TEXTS)
    return processspan._Details(
        task_id,
        draw(st.just(1) | st.integers(1, 5)),
        draw(SENT),
        draw(st.integers(NOW * 1000 - 10**12, NOW * 1000 + 10**12)),
        draw(st.none() | MAYBE),
        draw(st.booleans()),
        draw(st.none() | st.integers(0, 3)),
        draw(st.just(task_id) | MAYBE),
        draw(MAYBE),
        draw(st.just("") | st.just("2026-11-30T10:00:00+00:00")),
        draw(st.just("") | TEXTS),
    )


@given(_process())
def test_a_process_span_is_encoded_as_its_attributes_are(values: Any) -> None:
    """Whatever a message says of itself; where the short way does not take it, the long one does."""
    found = details.of_process(values)
    assert found is None or b"".join(found) == _long(processspan._attributes, values)


@given(
    st.tuples(
        TEXTS | st.integers() | st.none(),
        MAYBE | st.none(),
        MAYBE | st.integers(),
        st.none() | MAYBE,
        st.none(),
        st.none() | MAYBE,
    )
)
def test_a_send_span_is_encoded_as_its_attributes_are(values: Any) -> None:
    """Whatever is in the envelope; where the short way does not take it, the long one does."""
    found = details.of_send(values)
    assert found is None or b"".join(found) == _long(publishing._attributes, values)


def test_usual_messages_go_the_short_way() -> None:
    """Else the two tests above would hold nothing against anything."""
    assert details.of_send(("a", "a", None, None, None, None))
    assert details.of_send(("a", "b", "c", None, None, "r"))
    usual = processspan._Details("a", 1, NOW, NOW * 1000 + 1, None, False, 0, "a", "", "", "")
    assert details.of_process(usual)
    assert details.of_process(usual._replace(run_id="r", root_id="b", parent_id="c", sent_at=NOW + 10))
    for field, value in {
        "attempt": 2,
        "sent_at": None,
        "redelivered": True,
        "retries": 1,
        "eta": "e",
    }.items():
        assert details.of_process(usual._replace(**{field: value})) is None


def test_a_lone_surrogate_is_left_to_the_stock_encoder() -> None:
    """JSON lets it pass; a task id with one is no UTF-8."""
    tracer = MessageTracer(TracerProvider(sampler=ALWAYS_ON).get_tracer("t"))
    template = publishing._template("redis", "orders", "shop.place")
    values = ("\ud800", "a", None, None, None, None)
    span: Any = tracer.start_span(template, Context(), INVALID_SPAN_CONTEXT, values, start_time=1)
    with pytest.raises(Unusual):
        messages.encode_start(span)


PARENT = SpanContext(11, 12, True, TraceFlags(1))
LOCAL = SpanContext(11, 12, False, TraceFlags(1), TraceState([("a", "b")]))


@pytest.mark.parametrize("parent", [PARENT, LOCAL])
@pytest.mark.parametrize(
    "items", [carrier.CREATION_CONTEXT, carrier.RETRY_OF, MappingProxyType({"a": 1}), {"b": "c"}]
)
def test_a_link_to_the_parent_is_a_link(parent: SpanContext, items: Any) -> None:
    """The ids are taken from the parent's bytes only where it is the parent, and what stands around them is right."""
    template = SpanTemplate("process q", SpanKind.CONSUMER, {"s": 1}, lambda values: {"own": values})
    other = SpanContext(21, 22, True)
    tracer = MessageTracer(TracerProvider(sampler=ALWAYS_ON).get_tracer("t"))
    for links in ([(parent, items)], [(parent, items), (other, items)], [(other, items)], [(LOCAL, items)]):
        span: Any = tracer.start_span(template, Context(), parent, "o", links, start_time=1000)
        encoded = messages.encode_start(span)
        assert encoded == _encode_span(span).SerializePartialToString()


def test_what_is_kept_is_bounded() -> None:
    """Texts of any length and links with any attributes pass, without a table that grows with them."""
    prefixes = Prefixes(Attributes(0x4A), "name")
    for size in range(3 * MAX_PREFIXES):
        assert prefixes[size] + b"x" * size == Attributes(0x4A).encode({"name": "x" * size})
    assert len(prefixes) == MAX_PREFIXES
    for number in range(100):
        messages._around_link(MappingProxyType({"a": number}))
    assert len(messages._around) <= messages._FEW
