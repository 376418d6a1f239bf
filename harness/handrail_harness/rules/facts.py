"""What every check looks at, worked out once: the forest, its hand-offs, its lineage, and what each span is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from handrail_harness.columns import Columns
from handrail_harness.forest import Forest, by_start
from handrail_harness.identities import Positions
from handrail_harness.roles import Role
from handrail_harness.rules.handoffs import Handoffs, examine
from handrail_harness.rules.layouts import Layout, layouts_of
from handrail_harness.rules.lineage import Disagreement, disagreements
from handrail_harness.spans import LogEvent, Span

ROLES: Final[tuple[Role, ...]] = get_args(Role)
ROLE_NUMBERS: Final[dict[Role, int]] = {role: number for number, role in enumerate(ROLES)}
"""The number of each role in `Facts.role`."""


@dataclass
class Facts:
    """One run as the checks see it; each part is worked out when it is first asked for."""

    forest: Forest
    events: Sequence[LogEvent] = ()

    @property
    def columns(self) -> Columns:
        """Every span once, field by field: identical copies, which at-least-once delivery makes, count as one."""
        return self.forest.columns

    @property
    def spans(self) -> tuple[Span, ...]:
        """The same as spans."""
        return self.forest.distinct

    @cached_property
    def handoffs(self) -> Handoffs:
        """Who sent what, and where it was received."""
        return examine(self.forest)

    @cached_property
    def disagreements(self) -> tuple[Disagreement, ...]:
        """Where the tree and Celery's own lineage differ, apart from what is broken already."""
        handoffs = self.handoffs
        known = (*handoffs.stray, *(consumer for _, consumer in handoffs.mismatched))
        return tuple(disagreements(self.forest, known))

    @cached_property
    def layouts(self) -> list[Layout]:
        """The spans by what they look like."""
        return layouts_of(self.columns)

    @cached_property
    def role(self) -> NDArray[np.int8]:
        """The number of each span's role in `ROLE_NUMBERS`."""
        columns = self.columns
        return np.array([ROLE_NUMBERS[look.role] for look in columns.looks], np.int8)[columns.look]

    @cached_property
    def unusual(self) -> list[int]:
        """The spans that have what most have not: an event, a status description, a tracestate or W3C flags."""
        columns = self.columns
        plain = np.array([look.plain for look in columns.looks], np.bool_)
        return np.flatnonzero(~plain[columns.look]).tolist()

    def with_parents(self, positions: Iterable[int]) -> list[tuple[int, int]]:
        """Return position and parent's position of those spans whose parent is among the spans."""
        parent = self.columns.parent
        return [(position, int(parent[position])) for position in positions if parent[position] >= 0]

    def below(self, positions: Sequence[int]) -> dict[int, list[int]]:
        """Return the children of each of these spans, earliest first."""
        columns = self.columns
        wanted = np.zeros(len(columns.spans), np.bool_)
        firsts = columns.first[positions].tolist()
        wanted[firsts] = True
        found: dict[int, list[int]] = {}
        for child in columns.edges[wanted[columns.parent[columns.edges]]].tolist():
            found.setdefault(int(columns.parent[child]), []).append(child)
        for children in found.values():
            children.sort(key=lambda child: by_start(columns.spans[child]))
        return {position: found.get(first, []) for position, first in zip(positions, firsts, strict=True)}


def positions_of(found: Iterable[int]) -> Positions:
    """Return positions in order, each once."""
    return np.array(sorted(set(found)), np.intp)
