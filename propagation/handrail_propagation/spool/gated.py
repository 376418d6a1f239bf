"""Which spans and events are recorded whatever happens: decisions, approvals, effects above `read`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from handrail_propagation import conventions as names

EVENTS = frozenset({names.EVENT_DECISION})
_DECISION_ID: Final = names.DECISION_ID
_APPROVAL_ID: Final = names.APPROVAL_ID
_RISK: Final = names.DECISION_RISK
_SAMPLED: Final = Decision.RECORD_AND_SAMPLE  # not each time: a look at an Enum's member is slow


def is_gated(attributes: Mapping[str, Any] | None) -> bool:
    """Whether a span with these attributes at its start is a decision, an approval or an effect above `read`."""
    if type(attributes) is BoundedAttributes:
        attributes = (
            attributes._dict
        )  # asking the SDK's own for what is not there raises an exception each time
    if not attributes:
        return False
    return _DECISION_ID in attributes or _APPROVAL_ID in attributes or attributes.get(_RISK, "read") != "read"


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
        if result.decision is _SAMPLED or not is_gated(attributes):
            return result
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, result.trace_state)

    def get_description(self) -> str:
        """Return what is in force, for people."""
        return f"RecordGated{{{self.inner.get_description()}}}"
