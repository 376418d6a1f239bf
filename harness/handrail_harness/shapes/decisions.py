"""A decision record as a test reads it: what the contract asked the model for, and what was made of it."""

from __future__ import annotations

from dataclasses import dataclass

from handrail_harness.shapes.steps import Step
from handrail_propagation import conventions as names


@dataclass(frozen=True, slots=True)
class Decision:
    """The record behind one tool call; fields are the attributes `agent.decision.*`, `""` where one is missing."""

    id: str
    tool: str
    intent: str
    reasoning: str
    context_source: str
    observed_source: str
    source_verdict: str
    risk: str
    reversible: bool | None
    disposition: str
    step: Step

    @classmethod
    def of(cls, step: Step) -> Decision:
        """Return the record of a tool call."""

        def text(key: str) -> str:
            value = step.attribute(key)
            return value if isinstance(value, str) else ""

        reversible = step.attribute(names.DECISION_REVERSIBLE)
        return cls(
            id=text(names.DECISION_ID),
            tool=step.name,
            intent=text(names.DECISION_INTENT),
            reasoning=text(names.DECISION_REASONING),
            context_source=text(names.DECISION_CONTEXT_SOURCE),
            observed_source=text(names.DECISION_OBSERVED_SOURCE),
            source_verdict=text(names.DECISION_SOURCE_VERDICT),
            risk=step.risk,
            reversible=reversible if isinstance(reversible, bool) else None,
            disposition=step.disposition,
            step=step,
        )
