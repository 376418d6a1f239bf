"""Why an effect was done: the decision, the model call that asked for it, each delegation up to the
operator.
"""

from __future__ import annotations

from dataclasses import dataclass

from handrail_harness.effects import AgentRun, Effect, RunView
from handrail_harness.spans import Span
from handrail_propagation.conventions import (
    DECISION_CONTEXT_SOURCE,
    DECISION_INTENT,
    DECISION_OBSERVED_SOURCE,
    DECISION_REASONING,
    DECISION_SOURCE_VERDICT,
    DELEGATION_REASON,
    LINK_CAUSED_BY_GENERATION,
    LINK_INFORMED_BY,
    LINK_TYPE,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One agent on the way from the operator to the effect.

    `delegation` is the span by which its caller handed over (`reason`: why), `chat` the model call in
    which this agent asked for what comes next: the next delegation or, at the last step, the effect.
    """

    agent: str
    reason: str | None
    delegation: Span | None
    chat: Span | None

    def document(self) -> dict[str, object]:
        """Return the JSON form: `agent`, `reason`, `span_id` of the delegation, `chat_span_id`."""
        return {
            "agent": self.agent,
            "reason": self.reason,
            "span_id": self.delegation.span_id if self.delegation is not None else None,
            "chat_span_id": self.chat.span_id if self.chat is not None else None,
        }


@dataclass(frozen=True, slots=True)
class Why:
    """The reasons for one effect; `source_spans` are ids of the spans that its arguments were taken from."""

    effect: Effect
    intent: str | None
    reasoning: str | None
    declared_source: str | None
    observed_source: str | None
    source_verdict: str
    source_spans: tuple[str, ...]
    steps: tuple[Step, ...]

    def document(self) -> dict[str, object]:
        """Return the JSON form, one entry of `why`."""
        return {
            "span_id": self.effect.span.span_id,
            "agent": self.effect.agent.name if self.effect.agent is not None else None,
            "intent": self.intent,
            "reasoning": self.reasoning,
            "declared_source": self.declared_source,
            "observed_source": self.observed_source,
            "source_verdict": self.source_verdict,
            "source_span_ids": list(self.source_spans),
            "delegation_path": [step.document() for step in self.steps],
        }


def why_of(view: RunView, effect: Effect) -> Why:
    """Return why the effect was done, as far as the spans say."""
    span = effect.span
    if effect.declared:
        sources = tuple(
            link.span_id for link in span.links if link.attributes.get(LINK_TYPE) == LINK_INFORMED_BY
        )
        words = {
            key: view.decision_text(span, key)
            for key in (
                DECISION_INTENT,
                DECISION_REASONING,
                DECISION_CONTEXT_SOURCE,
                DECISION_OBSERVED_SOURCE,
                DECISION_SOURCE_VERDICT,
            )
        }
    else:
        sources, words = (), {}  # nobody decided it
    return Why(
        effect=effect,
        intent=words.get(DECISION_INTENT),
        reasoning=words.get(DECISION_REASONING),
        declared_source=words.get(DECISION_CONTEXT_SOURCE),
        observed_source=words.get(DECISION_OBSERVED_SOURCE),
        source_verdict=words.get(DECISION_SOURCE_VERDICT) or "undetermined",
        source_spans=sources,
        steps=tuple(_steps(view, effect)),
    )


def _steps(view: RunView, effect: Effect) -> list[Step]:
    chain: list[AgentRun] = effect.agent.lineage() if effect.agent is not None else []
    steps: list[Step] = []
    for at, agent in enumerate(chain):
        asked_for = chain[at + 1].delegation if at + 1 < len(chain) else (effect.tool or effect.span)
        steps.append(
            Step(
                agent=agent.name,
                reason=(agent.delegation.text(DELEGATION_REASON) or None) if agent.delegation else None,
                delegation=agent.delegation,
                chat=_generation(view, asked_for) if asked_for is not None else None,
            )
        )
    return steps


def _generation(view: RunView, span: Span) -> Span | None:
    """Return the model call that a span was caused by, where it says so."""
    for link in span.links:
        if link.attributes.get(LINK_TYPE) == LINK_CAUSED_BY_GENERATION:
            return view.forest.by_key.get((link.trace_id, link.span_id))
    return None
