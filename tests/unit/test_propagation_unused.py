"""A traceparent that a consumer does not use leaves a mark on its span: why, and never what it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from handrail_propagation import conventions as names
from handrail_propagation import instrument, uninstrument
from handrail_propagation.carrier import process_span
from handrail_propagation.trust import Trust

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def ended() -> Iterator[InMemorySpanExporter]:
    """The spans that have ended, of a provider that `instrument()` is given."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrument(tracer_provider=provider)
    yield exporter
    uninstrument()
    provider.shutdown()


@pytest.mark.parametrize(
    ("headers", "trust", "why"),
    [
        ({}, "continue", None),
        ({"traceparent": GOOD}, "continue", None),
        ({"traceparent": GOOD}, "restart", None),
        ({"traceparent": f"garbled-{GOOD}"}, "continue", "unparsable"),
        ({"traceparent": f"garbled-{GOOD}"}, "restart", "unparsable"),
        ({"traceparent": GOOD + "0" * 65536}, "continue", "unparsable"),
        ({"traceparent": [GOOD, GOOD]}, "continue", "unparsable"),
        ({"traceparent": GOOD}, "drop", "not_trusted"),
        ({}, "drop", None),
    ],
)
def test_why_it_is_not_used(
    ended: InMemorySpanExporter, headers: dict[str, Any], trust: Trust, why: str | None
) -> None:
    """Unparsable and not trusted are told apart from used and missing; the value is nowhere."""
    with process_span("orders", headers, system="kafka", trust=trust):
        pass
    (span,) = ended.get_finished_spans()
    assert (span.attributes or {}).get(names.MESSAGE_TRACEPARENT) == why
    if why:
        assert span.parent is None
        assert GOOD not in span.to_json()
