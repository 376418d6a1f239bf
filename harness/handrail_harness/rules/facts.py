"""What every check looks at, worked out once: the forest, its hand-offs, its lineage, and what each span is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from handrail_harness.forest import Forest, key_of
from handrail_harness.rules.handoffs import Handoffs, examine
from handrail_harness.rules.lineage import Disagreement, disagreements
from handrail_harness.rules.roles import Role, role_of
from handrail_harness.spans import LogEvent, Span


@dataclass
class Facts:
    """One run as the checks see it; each part is worked out when it is first asked for."""

    forest: Forest
    events: Sequence[LogEvent] = ()

    @cached_property
    def handoffs(self) -> Handoffs:
        """Who sent what, and where it was received."""
        return examine(self.forest)

    @cached_property
    def disagreements(self) -> tuple[Disagreement, ...]:
        """Where the tree and Celery's own lineage differ, apart from what is broken already."""
        handoffs = self.handoffs
        known = (*handoffs.stray, *(consumer for _, consumer in handoffs.mismatched))
        return tuple(disagreements(self.forest, frozenset(key_of(span) for span in known)))

    @property
    def spans(self) -> tuple[Span, ...]:
        """Every span once: identical copies, which at-least-once delivery makes, count as one."""
        return self.forest.distinct

    @cached_property
    def roles(self) -> dict[int, Role]:
        """What each span is, by `id(span)`; spans of no convention of ours are left out."""
        return {id(span): role for span in self.spans if (role := role_of(span)) != "other"}

    @cached_property
    def edges(self) -> list[tuple[Span, Span]]:
        """Every span with its parent, where that is among the spans."""
        by_key = self.forest.by_key
        return [
            (span, parent)
            for span in self.spans
            if (parent := by_key.get((span.trace_id, span.parent_span_id))) is not None
        ]

    def role(self, span: Span) -> Role:
        """Return what a span is."""
        return self.roles.get(id(span), "other")

    def of_role(self, *roles: Role) -> list[Span]:
        """Return the spans of these roles."""
        return [span for span in self.spans if self.roles.get(id(span)) in roles]
