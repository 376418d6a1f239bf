"""Which spans and events are recorded whatever happens: decisions, approvals, effects above `read`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from handrail_propagation import conventions as names

EVENTS = frozenset({names.EVENT_DECISION})


def is_gated(attributes: Mapping[str, Any] | None) -> bool:
    """Whether a span with these attributes at its start is a decision, an approval or an effect above `read`."""
    if not attributes:
        return False
    return (
        names.DECISION_ID in attributes
        or names.APPROVAL_ID in attributes
        or attributes.get(names.DECISION_RISK, "read") != "read"
    )


class RecordGated(Sampler):
    """Decides as `inner` does, but never against a span that must be recorded."""

    def __init__(self, inner: Sampler) -> None:
        self.inner = inner

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Called by the SDK before a span starts."""
        result = self.inner.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )
        if result.decision is Decision.RECORD_AND_SAMPLE or not is_gated(attributes):
            return result
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, result.trace_state)

    def get_description(self) -> str:
        """Return what is in force, for people."""
        return f"RecordGated{{{self.inner.get_description()}}}"
