"""The spans of messages are the SDK's for everybody who looks at them, and the same bytes on the wire."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as stock_encode
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    StaticSampler,
)
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NoOpTracerProvider,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from handrail_propagation import conventions as names
from handrail_propagation.ids import ChosenIds, choose
from handrail_propagation.messagespan import FRESH, MessageSpan, SpanTemplate
from handrail_propagation.messagetracer import MessageTracer
from handrail_propagation.otlp import messages
from handrail_propagation.otlp.requests import encode_spans

TEMPLATE = SpanTemplate(
    "send orders",
    SpanKind.PRODUCER,
    {"messaging.system": "redis", "celery.task_name": "shop.place"},
    lambda details: {"messaging.message.id": details, "agent.message.attempt": 1, "late": False, "wait": 0.5},
)
PARENT = SpanContext(11, 12, True, TraceFlags(0x03), TraceState([("vendor", "1")]))
LINKS = ((SpanContext(21, 22, True), {names.LINK_TYPE: names.LINK_RETRY_OF}),)


def start(provider: Any, parent: SpanContext = PARENT, **options: Any) -> Any:
    """Start one span on a provider's tracer."""
    tracer = MessageTracer(provider.get_tracer("handrail", "1"))
    links = options.pop("links", LINKS)
    return tracer.start_span(TEMPLATE, Context(), parent, "m-1", links, start_time=1000, **options)


def stock(provider: TracerProvider, span: MessageSpan, change: Callable[[Any], None]) -> ReadableSpan:
    """The same span as the SDK makes it."""
    from opentelemetry.trace import Link, NonRecordingSpan

    made: Any = provider.get_tracer("handrail", "1").start_span(
        TEMPLATE.name,
        context=set_span_in_context(NonRecordingSpan(PARENT), Context()),
        kind=TEMPLATE.kind,
        attributes={**TEMPLATE.shared, **TEMPLATE.expand("m-1")},
        links=[Link(*link) for link in LINKS],
        start_time=1000,
    )
    made._context = span._context
    change(made)
    made.end(2000)
    return made  # type: ignore[no-any-return]


class Ended(SpanProcessor):
    """Keeps the spans that it is told of."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


CHANGES: dict[str, Callable[[Any], None]] = {
    "none": lambda span: None,
    "attribute": lambda span: span.set_attribute(names.CELERY_STATE, "SUCCESS"),
    "shared attribute": lambda span: span.set_attribute("messaging.system", "rabbitmq"),
    "attribute twice": lambda span: [span.set_attribute("wait", value) for value in (1.0, 2.0)] and None,
    "many attributes": lambda span: [span.set_attribute(f"a{n}", n) for n in range(20)] and None,
    "attributes": lambda span: span.set_attributes({"a": [1, 2], "b": {"c": "d"}}),
    "unclean attribute": lambda span: span.set_attribute("list", ["x", "y"]),
    "event": lambda span: span.add_event("agent.decision", {"risk": "write"}, timestamp=1500),
    "link": lambda span: span.add_link(SpanContext(31, 32, False), {"a": "b"}),
    "status": lambda span: span.set_status(Status(StatusCode.ERROR, "ValueError")),
    "name": lambda span: span.update_name("renamed"),
    "read": lambda span: hash((span.name, len(span.attributes), span.links, span.events, span.kind)) and None,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_message_span_is_what_the_sdk_would_have_made(change: Callable[[Any], None]) -> None:
    """Whatever a user does to it, processors see the SDK's fields, and the bytes are those of the stock encoder."""
    provider = TracerProvider(resource=Resource({"service.name": "t"}), sampler=ALWAYS_ON)
    span = start(provider)
    assert type(span) is MessageSpan
    assert isinstance(span, Span)
    change(span)
    span.end(2000)
    expected = stock(provider, span, change)
    encoded = encode_spans([span])
    assert encoded == stock_encode([expected]).SerializePartialToString()
    assert encoded == stock_encode([span]).SerializePartialToString()
    assert span.to_json() == expected.to_json()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_record_of_an_end_goes_on_where_the_start_stopped(change: Callable[[Any], None]) -> None:
    """A start's bytes with what came since say the same as the whole span, with every attribute once."""
    provider = TracerProvider(resource=Resource({"service.name": "t"}), sampler=ALWAYS_ON)
    span = start(provider)
    assert ProtoSpan.FromString(messages.encode_start(span)).end_time_unix_nano == 0
    change(span)
    span.end(2000)
    whole = ProtoSpan.FromString(messages.encode_plain(span))
    assert ProtoSpan.FromString(messages.encode_end(span)) == whole
    keys = [pair.key for pair in whole.attributes]
    assert len(keys) == len(set(keys)) >= 6


def test_a_span_that_nobody_has_touched_is_known_by_its_fields() -> None:
    """Only its start is kept for its end; one that somebody has looked at is encoded anew."""
    ids = choose()
    fresh, seen = (start(TracerProvider(sampler=ALWAYS_ON), ids=ids) for _ in range(2))
    assert len(vars(fresh)) == FRESH
    assert seen.name == "send orders"
    assert messages.encode_start(seen) == messages.encode_start(fresh)
    assert ("_started" in vars(fresh), "_started" in vars(seen)) == (True, False)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_ending_with_an_attribute_is_setting_it_and_ending(
    change: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The short way leaves the span that the long way does, whatever has been done to it; one that has ended stays."""
    monkeypatch.setattr("handrail_propagation.messagespan.time_ns", lambda: 2000)
    provider = TracerProvider(resource=Resource({"service.name": "t"}), sampler=ALWAYS_ON)

    def change_and_state(other: Any) -> None:
        change(other)
        other.set_attribute(names.CELERY_STATE, "SUCCESS")

    span = start(provider)
    change(span)
    span.end_with(names.CELERY_STATE, "SUCCESS")
    span.end_with(names.CELERY_STATE, "FAILURE")
    expected = stock(provider, span, change_and_state)
    assert span.to_json() == expected.to_json()
    assert encode_spans([span]) == stock_encode([expected]).SerializePartialToString()


def test_an_ended_span_does_not_change(caplog: pytest.LogCaptureFixture) -> None:
    """After its end a span ends, and takes attributes, no second time; both are warned about as in the SDK."""
    provider, ended = TracerProvider(), Ended()
    provider.add_span_processor(ended)
    span = start(provider)
    span.end(2000)
    span.end(3000)
    span.set_attribute("a", 1)
    assert (len(ended.spans), span.end_time, "a" in span.attributes) == (1, 2000, False)
    assert "ended span" in caplog.text


def test_processors_see_start_and_end() -> None:
    """Every processor of the provider, also one that is added later, is told of starts and ends in the SDK's order."""
    seen: list[tuple[str, str]] = []

    class Watch(SpanProcessor):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            assert parent_context is not None
            span.set_attribute("watched", self.name)
            seen.append((self.name, "start"))

        def _on_ending(self, span: Span) -> None:
            seen.append((self.name, "ending"))

        def on_end(self, span: ReadableSpan) -> None:
            assert (span.attributes or {})["watched"] == "b"
            seen.append((self.name, "end"))

    provider = TracerProvider()
    tracer = MessageTracer(provider.get_tracer("t"))
    tracer.start_span(TEMPLATE, Context(), PARENT, "m", start_time=1).end()
    provider.add_span_processor(Watch("a"))
    provider.add_span_processor(Watch("b"))
    tracer.start_span(TEMPLATE, Context(), PARENT, "m", start_time=1).end()
    order = [(name, what) for what in ("start", "ending", "end") for name in ("a", "b")]
    assert seen == order


@pytest.mark.parametrize("kind", [SimpleSpanProcessor, BatchSpanProcessor])
def test_exporters_get_the_span(kind: Callable[[InMemorySpanExporter], SpanProcessor]) -> None:
    """The SDK's own processors export it, whole, and what is not sampled is not exported."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(kind(exporter))
    start(provider).end()
    start(provider, SpanContext(11, 12, True, TraceFlags(0))).end()
    provider.force_flush()
    (span,) = exporter.get_finished_spans()
    assert span.parent == PARENT
    assert (span.attributes or {})["messaging.message.id"] == "m-1"
    provider.shutdown()


@pytest.mark.parametrize("remote", [True, False])
@pytest.mark.parametrize("flags", [0, 1])
@pytest.mark.parametrize(
    "sampler",
    [
        ALWAYS_ON,
        ALWAYS_OFF,
        ParentBased(ALWAYS_OFF),
        ParentBased(ALWAYS_ON, remote_parent_sampled=ALWAYS_OFF, local_parent_not_sampled=ALWAYS_ON),
    ],
)
def test_the_sampler_decides(sampler: Sampler, flags: int, remote: bool) -> None:
    """The decision, the flags and the trace state are those of the SDK's tracer, with a parent or without."""
    from opentelemetry.trace import NonRecordingSpan

    provider = TracerProvider(sampler=sampler)
    for parent in (
        SpanContext(1, 2, remote, TraceFlags(flags | 2), TraceState([("a", "b")])),
        INVALID_SPAN_CONTEXT,
    ):
        where = set_span_in_context(NonRecordingSpan(parent), Context())
        expected: Any = provider.get_tracer("t").start_span("x", context=where)
        span = start(provider, parent)
        ours, theirs = span.get_span_context(), expected.get_span_context()
        assert span.is_recording() == expected.is_recording()
        assert (ours.trace_flags, ours.trace_state) == (theirs.trace_flags, theirs.trace_state)
        assert (ours.trace_id == parent.trace_id) == (theirs.trace_id == parent.trace_id)
        assert ours.is_valid


def test_a_sampler_of_another_make_is_asked() -> None:
    """It sees all attributes, and what it adds is on the span."""

    class Adding(Sampler):
        def should_sample(self, *args: Any, **options: Any) -> SamplingResult:
            attributes = args[4]
            assert attributes["messaging.message.id"] == "m-1"
            from opentelemetry.sdk.trace.sampling import Decision

            return SamplingResult(Decision.RECORD_AND_SAMPLE, {**attributes, "sampler.rule": 7})

        def get_description(self) -> str:
            return "Adding"

    span = start(TracerProvider(sampler=Adding()))
    assert span.attributes["sampler.rule"] == 7


def test_chosen_ids_are_the_spans() -> None:
    """The ids that another process has chosen are used, with a stock sampler and with one of another make."""
    other: Sampler = type("Other", (StaticSampler,), {})(ALWAYS_ON._decision)
    for sampler in (ALWAYS_ON, other):
        ids = choose()
        provider = TracerProvider(sampler=sampler, id_generator=ChosenIds(RandomIdGenerator()))
        made = start(provider, INVALID_SPAN_CONTEXT, ids=ids).get_span_context()
        assert made.span_id.to_bytes(8, "big") + made.trace_id.to_bytes(16, "big") == ids


def test_span_limits_are_kept() -> None:
    """A provider with limits on attributes gets spans that keep to them."""
    span = start(TracerProvider(span_limits=SpanLimits(max_span_attribute_length=3, max_span_attributes=4)))
    assert len(span.attributes) == 4
    assert span.attributes["messaging.message.id"] == "m-1"
    assert span.dropped_attributes == 2
    few = start(TracerProvider(span_limits=SpanLimits(max_span_attributes=40)))
    for number in range(60):
        few.set_attribute(f"a{number}", number)
    assert len(few.attributes) == 40


def test_a_disabled_tracer_makes_no_spans() -> None:
    """Where the provider makes none the parent's context is handed on."""
    span = start(NoOpTracerProvider())
    assert not span.is_recording()
    assert span.get_span_context() == PARENT


def test_attributes_set_from_many_threads_are_all_there() -> None:
    """No attribute is lost when threads set some while another looks at them for the first time."""
    for _ in range(20):
        span = start(TracerProvider())
        barrier = threading.Barrier(5)

        def work(number: int, span: Any = span, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            if number == 0:
                assert span.attributes["messaging.system"] == "redis"
            else:
                span.set_attribute(f"t{number}", number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [span.attributes[f"t{number}"] for number in range(1, 5)] == [1, 2, 3, 4]


def test_a_span_is_ended_by_one_of_many_threads() -> None:
    """However many end it at once, processors are told once."""
    provider, ended = TracerProvider(), Ended()
    provider.add_span_processor(ended)
    for number in range(1, 21):
        span = start(provider)
        barrier = threading.Barrier(4)

        def work(span: Any = span, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            span.end_with(names.CELERY_STATE, "SUCCESS")

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ended.spans) == number
        assert (span.attributes or {})[names.CELERY_STATE] == "SUCCESS"
