"""Span contexts as text for the journal: the `traceparent` form (W3C Trace Context level 2, §3.2)."""

from __future__ import annotations

import re

from opentelemetry.trace import SpanContext, TraceFlags

_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def to_text(context: SpanContext) -> str:
    """Return `00-{trace id}-{span id}-{flags}`."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def from_text(text: str) -> SpanContext | None:
    """Return the context of a remote span, `None` when the text has none (tracing was off)."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    context = SpanContext(
        trace_id=int(match[1], 16),
        span_id=int(match[2], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(match[3], 16)),
    )
    return context if context.is_valid else None
