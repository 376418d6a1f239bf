"""The `invoke_agent` span of one segment: a segment ends when the run parks or finishes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)

from handrail_agents.journal import Invocation
from handrail_agents.spancontext import from_text
from handrail_propagation import conventions as names
from handrail_propagation import tracer


@contextmanager
def segment_span(
    invocation: Invocation, number: int, entries: Mapping[str, str], *, woken: bool
) -> Iterator[Span]:
    """Open the span of segment `number` (1..) under the `process` span or, later, the first segment.

    A segment whose process died has no span to be a child of: then the next one begins anew under `process`.
    """
    here = get_current_span().get_span_context()
    first = next((at for at in range(1, number) if f"ended:{at}" in entries), None)
    parent = from_text(entries.get(f"segment:{first}", "")) if first else None
    links: list[Link] = []
    if number > 1:
        previous = from_text(entries.get(f"segment:{number - 1}", ""))
        if previous is not None:
            links.append(Link(previous, {names.LINK_TYPE: names.LINK_PREVIOUS_SEGMENT}))
        if woken and here.is_valid:
            links.append(Link(here, {names.LINK_TYPE: names.LINK_WOKEN_BY}))
    context = otel_context.get_current()
    if parent is not None:
        context = set_span_in_context(NonRecordingSpan(parent), context)
    attributes: dict[str, Any] = {
        names.GEN_AI_OPERATION_NAME: names.OPERATION_INVOKE_AGENT,
        names.GEN_AI_AGENT_NAME: invocation.agent,
        names.RUN_ID: invocation.run_id,
        names.RUN_SEGMENT: number,
        names.DELEGATION_DEPTH: len(invocation.path),
        names.DELEGATION_PATH: list(invocation.path),
    }
    if invocation.caller is not None:
        attributes[names.CALLER_NAME] = invocation.caller
    with tracer().start_as_current_span(
        f"{names.OPERATION_INVOKE_AGENT} {invocation.agent}",
        context=context,
        kind=SpanKind.INTERNAL,
        attributes=attributes,
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except Exception as error:
            fail(span, type(error).__name__)
            raise


def fail(span: Span, error_type: str) -> None:
    """Mark a segment as failed with the exception's type; its text may hold content."""
    span.set_attribute(names.ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR, error_type))
