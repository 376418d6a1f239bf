"""Spans of the SDK read as they would after an export."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from handrail_harness.otlp import spans_of
from handrail_harness.rules import check
from handrail_harness.sources.sdk import SDKSource
from handrail_propagation.conventions import RUN_ID


def recorded() -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "unit"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def test_every_part_of_a_span_arrives() -> None:
    """Ids, parent, kind, attributes, links, events, status, resource and scope: as exported over OTLP."""
    provider, exporter = recorded()
    tracer = provider.get_tracer("some.scope")
    with tracer.start_as_current_span("above", attributes={RUN_ID: "r"}) as above:
        link = Link(above.get_span_context(), {"why": "test"})
        with tracer.start_as_current_span("below", kind=SpanKind.CLIENT, links=[link]) as below:
            below.add_event("happened", {"n": 1})
            below.set_attribute("list", ["a", "b"])
            below.set_status(Status(StatusCode.ERROR, "LookupError"))
    trace_id = f"{above.get_span_context().trace_id:032x}"
    source = SDKSource(exporter)
    assert list(source.spans(trace_id)) == list(spans_of(encode_spans(exporter.get_finished_spans())))
    child, parent = source.spans(trace_id)
    assert child.parent_span_id == parent.span_id
    assert (child.kind, child.status_code, child.attributes["list"]) == ("client", "error", ["a", "b"])
    assert child.links[0].span_id == parent.span_id
    assert child.events[0].attributes == {"n": 1}
    assert (child.service, child.scope_name) == ("unit", "some.scope")
    assert source.traces_of_run("r") == [trace_id]
    assert [summary.spans for summary in source.traces()] == [2]


def test_an_exporter_is_asked_again_each_time() -> None:
    """What ends later is there at the next question; until then its children are orphans."""
    provider, exporter = recorded()
    tracer = provider.get_tracer("t")
    source = SDKSource(exporter)
    with tracer.start_as_current_span("above") as above:
        trace_id = f"{above.get_span_context().trace_id:032x}"
        with tracer.start_as_current_span("below"):
            pass
        assert [span.name for span in check(source, trace_id).forest.orphans] == ["below"]
    assert check(source, trace_id).unified


def test_a_list_of_spans_will_do() -> None:
    """Finished spans from anywhere in the SDK, without an exporter."""
    provider, exporter = recorded()
    with provider.get_tracer("t").start_as_current_span("alone"):
        pass
    assert check(SDKSource(list(exporter.get_finished_spans()))).unified
