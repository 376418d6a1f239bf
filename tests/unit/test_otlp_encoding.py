"""OTLP written directly is, byte for byte, what OpenTelemetry's own encoder writes, or fails as that fails."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs as stock_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as stock_spans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as PB2Span
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from handrail_propagation.otlp import requests, values
from handrail_propagation.otlp import spans as spans_module
from handrail_propagation.otlp.requests import encode_logs, encode_spans
from handrail_propagation.otlp.spans import encode_plain_span, encode_span


class Color(enum.StrEnum):
    """A string that is not exactly a `str`."""

    RED = "red"


class Level(enum.IntEnum):
    """An integer that is not exactly an `int`."""

    HIGH = 300


class Hidden(ReadableSpan):
    """A span that shows something else than it holds."""

    @property
    def name(self) -> str:
        return "hidden"


INT64 = st.integers(-(1 << 63), (1 << 63) - 1) | st.sampled_from(
    [0, 1, 127, 128, 2047, 2048, -1, (1 << 63) - 1, -(1 << 63)]
)
TEXT = st.text(max_size=30) | st.sampled_from(["", "x" * 125, "x" * 126, "ü" * 64, "x" * 3000, "\x00", "😀"])
SCALARS: st.SearchStrategy[Any] = st.one_of(
    TEXT, st.booleans(), INT64, st.floats(), st.just(-0.0), st.binary(max_size=20), st.none()
)
NESTED: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(TEXT, inner, max_size=4)
    ),
    max_leaves=10,
)
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        1 << 63,
        -(1 << 63) - 1,
        "lone \ud800 surrogate",
        {1: "a", "1": "b"},
        {"\udfff": 1},
        bytearray(b"bytes"),
        range(3),
        Color.RED,
        Level.HIGH,
        object,
        {"a": [{"b": {3: 4}}]},
    ]
)
KEYS = st.text(max_size=12) | st.sampled_from(["", "k" * 200, "gen_ai.operation.name", "ключ"])


def mappings(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    plain = st.dictionaries(KEYS, items, max_size=6)
    return st.none() | plain | plain.map(_bounded)


def _bounded(items: dict[str, Any]) -> BoundedAttributes:
    # Two of them may not fit in, so that some are counted as dropped
    return BoundedAttributes(maxlen=4, attributes=items, immutable=False, max_value_len=None)


STATES = st.none() | st.just(TraceState()) | st.just(TraceState([("a", "1"), ("b@c", "x y")]))
CONTEXTS = st.builds(
    SpanContext,
    st.integers(0, (1 << 128) - 1),
    st.integers(0, (1 << 64) - 1),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1)]),
    STATES,
)
TIMES = st.none() | st.integers(0, (1 << 64) - 1)


def events(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    return st.builds(Event, TEXT, mappings(items), st.integers(0, (1 << 64) - 1))


def links(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Link]:
    return st.builds(Link, CONTEXTS, mappings(items))


def several(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(items, max_size=3)
    return lists | lists.map(lambda found: BoundedList.from_seq(2, found))


RESOURCES = st.builds(
    Resource, st.dictionaries(KEYS.filter(bool), TEXT | INT64 | st.booleans(), max_size=3), st.just("") | TEXT
)
SCOPES = st.none() | st.builds(
    InstrumentationScope,
    TEXT,
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | st.dictionaries(KEYS.filter(bool), TEXT | INT64, max_size=2),
)


def spans(
    items: st.SearchStrategy[Any], resources: st.SearchStrategy[Any], scopes: st.SearchStrategy[Any]
) -> st.SearchStrategy[ReadableSpan]:
    return st.builds(
        ReadableSpan,
        TEXT,
        context=CONTEXTS,
        parent=st.none() | CONTEXTS,
        resource=resources,
        attributes=mappings(items),
        events=several(events(items)),
        links=several(links(items)),
        kind=st.sampled_from(SpanKind),
        status=st.builds(Status, st.sampled_from(StatusCode))
        | st.builds(Status, st.just(StatusCode.ERROR), TEXT),
        start_time=TIMES,
        end_time=TIMES,
        instrumentation_scope=scopes,
    )


@st.composite
def batches(draw: st.DrawFn, items: st.SearchStrategy[Any]) -> list[ReadableSpan]:
    # Few origins, and equal ones that are not the same object, so that spans of one group meet
    resources = draw(st.lists(RESOURCES, min_size=1, max_size=2))
    scopes = draw(st.lists(SCOPES, min_size=1, max_size=2))
    resources += [Resource(dict(one.attributes), one.schema_url) for one in resources]
    scopes += [
        InstrumentationScope(one.name, one.version, one.schema_url, dict(one.attributes))
        for one in scopes
        if one is not None
    ]
    return draw(st.lists(spans(items, st.sampled_from(resources), st.sampled_from(scopes)), max_size=8))


def log_records(items: st.SearchStrategy[Any]) -> st.SearchStrategy[ReadableLogRecord]:
    def build(
        body: Any,
        attributes: Any,
        times: tuple[int | None, int],
        severity: Any,
        ids: tuple[int, int],
        texts: tuple[Any, Any],
        flags: int,
    ) -> LogRecord:
        record = LogRecord(
            timestamp=times[0],
            observed_timestamp=times[1],
            severity_text=texts[0],
            severity_number=severity,
            body=body,
            attributes=attributes,
            event_name=texts[1],
        )
        record.trace_id, record.span_id, record.trace_flags = *ids, TraceFlags(flags)
        return record

    log = st.builds(
        build,
        items,
        mappings(items),
        st.tuples(TIMES, st.integers(0, (1 << 64) - 1)),
        st.none() | st.sampled_from(SeverityNumber),
        st.tuples(st.integers(0, (1 << 128) - 1), st.integers(0, (1 << 64) - 1)) | st.just((0, 0)),
        st.tuples(st.none() | TEXT, st.none() | TEXT),
        st.integers(0, 255),
    )
    return st.builds(ReadableLogRecord, log, RESOURCES, SCOPES)


def outcome(encode: Callable[[Any], Any], batch: Sequence[Any]) -> bytes | type[BaseException]:
    """What an encoder makes of a batch: bytes, or the kind of its failure."""
    try:
        encoded = encode(batch)
        result: bytes = encoded if isinstance(encoded, bytes) else encoded.SerializePartialToString()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other encoder must fail with the same
        return type(error)
    return result


def same(ours: Any, stock: Any, batch: Sequence[Any]) -> None:
    expected, found = outcome(stock, batch), outcome(ours, batch)
    assert found == expected


MANY = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@MANY
@given(batches(NESTED))
def test_spans_are_encoded_as_the_stock_encoder_does(batch: list[ReadableSpan]) -> None:
    """Whatever OTLP can express comes out in the same bytes, in the same groups and in the same order."""
    same(encode_spans, stock_spans, batch)


@MANY
@given(batches(SCALARS | ODD))
@pytest.mark.filterwarnings("ignore")
def test_odd_values_come_out_or_fail_as_with_the_stock_encoder(batch: list[ReadableSpan]) -> None:
    """What OTLP cannot express is left out, or refused, exactly where the stock encoder does so."""
    same(encode_spans, stock_spans, batch)


@MANY
@given(st.lists(log_records(NESTED), max_size=5))
def test_log_records_are_encoded_as_the_stock_encoder_does(batch: list[ReadableLogRecord]) -> None:
    """Bodies of every shape, severities, ids and event names come out in the same bytes."""
    same(encode_logs, stock_logs, batch)


@MANY
@given(st.lists(log_records(SCALARS | ODD), max_size=5))
def test_odd_log_records_come_out_or_fail_as_with_the_stock_encoder(batch: list[ReadableLogRecord]) -> None:
    """A body or attribute that OTLP cannot express is treated as the stock encoder treats it."""
    same(encode_logs, stock_logs, batch)


def span(**fields: Any) -> ReadableSpan:
    return ReadableSpan(
        **{"name": "s", "context": SpanContext(1, 2, False), "resource": Resource({})} | fields
    )


@pytest.mark.parametrize(
    "odd",
    [
        span(name="\ud800"),
        span(name=b"bytes"),
        span(name=7),
        span(name=None),
        span(start_time=-1),
        span(end_time=1 << 64),
        span(start_time=1.5),
        span(kind="internal"),
        span(context=None),
        span(context=SpanContext(1 << 128, 2, False)),
        span(status=None),
        span(attributes={"deep": reduce(lambda inner, _: [inner], range(40), 1)}),
        span(attributes={"deeper": reduce(lambda inner, _: [inner], range(90), 1)}),
        span(attributes={7: "key"}),
        span(events=[object()]),
        span(links=[Link(SpanContext(-1, 1, False))]),
        Hidden("shown", SpanContext(1, 2, False), resource=Resource({})),
    ],
)
def test_an_odd_span_takes_the_stock_encoders_way(odd: ReadableSpan) -> None:
    """A span with something out of the ordinary in it comes out, or fails, as with the stock encoder."""
    same(encode_spans, stock_spans, [odd])
    same(encode_spans, stock_spans, [span(), odd])


def test_ordinary_spans_are_not_left_to_the_stock_encoder() -> None:
    """A span of the SDK with every kind of attribute, an event and a link is written directly."""
    tracer = TracerProvider().get_tracer("test", "1", attributes={"a": 1})
    with tracer.start_as_current_span("work", links=[Link(SpanContext(1, 2, True), {"x": "y"})]) as recorded:
        recorded.set_attributes({"text": "x", "int": 5, "float": math.inf, "bool": True, "list": ["a", "b"]})
        recorded.add_event("event", {"n": 1})
        assert PB2Span.FromString(encode_span(recorded)).end_time_unix_nano == 0  # type: ignore[arg-type]
    assert (
        encode_plain_span(recorded)
        == stock_spans([recorded])
        .resource_spans[0]
        .scope_spans[0]
        .spans[  # type: ignore[arg-type, list-item]
            0
        ]
        .SerializeToString()
    )


def test_spans_that_run_are_encoded_as_they_are_now() -> None:
    """The start record of a span carries what is known when it starts."""
    recorded = TracerProvider().get_tracer("test").start_span("work", attributes={"a": 1})
    parsed = PB2Span.FromString(encode_span(recorded))  # type: ignore[arg-type]
    assert (parsed.name, parsed.end_time_unix_nano, parsed.attributes[0].key) == ("work", 0, "a")
    recorded.end()


def test_tables_stay_small() -> None:
    """Attribute names, values, span names and scopes without end do not take memory without end."""
    keys, names = spans_module._ATTRIBUTES._keys, spans_module._names
    for number in range(values.MAX_KEYS + 10):
        encode_spans(
            [span(name=f"span-{number}", attributes={f"key-{number}": 1, "same": f"value-{number}"})]
        )
    for number in range(requests._MAX_CACHED + 10):
        encode_spans([span(instrumentation_scope=InstrumentationScope(f"scope-{number}"))])
    assert 0 < len(keys) <= values.MAX_KEYS
    assert 0 < len(names) <= spans_module._MAX_NAMES
    assert 0 < len(requests._cache) <= requests._MAX_CACHED
    assert all(len(key.known or ()) <= values.MAX_VALUES for key in keys.values())
    assert any(key.known is None for key in keys.values())
    for length in range(2 * values.MAX_PREFIXES):
        encode_spans([span(attributes={"text": f"{length}" + "x" * length})])
    assert any(key.prefixes for key in keys.values())
    assert all(len(key.prefixes) <= values.MAX_PREFIXES for key in keys.values())


def test_texts_are_the_same_remembered_or_not() -> None:
    """A name or value comes out in the same bytes the first time, when it is known, and when there are too many."""
    many = [span(attributes={"text": "x" * (number % 300), "n": number - 100}) for number in range(400)]
    same(encode_spans, stock_spans, many)
    same(encode_spans, stock_spans, many)


def test_long_names_are_not_kept() -> None:
    """Names as long as hostile input makes them are encoded and forgotten."""
    same(encode_spans, stock_spans, [span(name="n" * 100_000, attributes={"k" * 100_000: "v" * 100_000})])
    assert all(len(name) <= values.MAX_LENGTH for name in spans_module._ATTRIBUTES._keys)
    assert all(len(name or "") <= values.MAX_LENGTH for name in spans_module._names)
