"""The span processor that Handrail adds to every SDK tracer provider, its own or the application's."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from handrail_propagation.conventions import RUN_ID
from handrail_propagation.lineage import run_id_of


class RunIdProcessor(SpanProcessor):
    """Stamps `agent.run.id` from baggage on every span, whoever starts it."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Called by the SDK when a span starts."""
        run_id = run_id_of(parent_context)
        if run_id is not None:
            span.set_attribute(RUN_ID, run_id)
