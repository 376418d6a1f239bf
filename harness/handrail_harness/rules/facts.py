"""What every check looks at, worked out once: the forest, its hand-offs, its lineage, and what each span is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

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
        """What each span is, by `id(span)`."""
        return {id(span): role_of(span) for span in self.forest.distinct}

    @cached_property
    def by_role(self) -> dict[Role, list[Span]]:
        """The spans of each role, in the order of the forest."""
        found: dict[Role, list[Span]] = {role: [] for role in get_args(Role)}
        for span, role in zip(self.forest.distinct, self.roles.values(), strict=True):
            found[role].append(span)
        return found

    def edges(self) -> Iterator[tuple[Span, Span]]:
        """Yield every span with its parent, where that is among the spans."""
        for span, parent in zip(self.forest.distinct, self.forest.parents, strict=True):
            if parent is not None:
                yield span, parent
