"""Spans sorted by what they look like: of a million spans a few dozen layouts, each looked at once.

A layout's values lie in columns, so that one call of a built-in function looks at an attribute of all its spans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from handrail_harness.identities import Positions
from handrail_harness.rules.roles import Role, role_of
from handrail_harness.spans import AttributeValue, Span, SpanKind, StatusCode
from handrail_propagation import conventions as c


@dataclass(frozen=True, slots=True)
class Layout:
    """`n` spans with the same role, kind, scope, status, and attribute names in the same order.

    `positions` and `names` are of length `n`; `values` holds one value a name of each span in turn.
    """

    role: Role
    kind: SpanKind
    scope: str
    status: StatusCode
    keys: tuple[str, ...]
    positions: Positions
    names: list[str]
    values: list[AttributeValue]

    def column(self, key: str) -> list[AttributeValue]:
        """Return the value of one attribute of each span; `None` everywhere when they do not have it."""
        if key not in self.keys:
            return [None] * len(self.names)
        return self.values[self.keys.index(key) :: len(self.keys)]


def layouts_of(spans: Sequence[Span]) -> list[Layout]:
    """Sort the spans by layout."""
    groups: dict[tuple[str, ...], tuple[int, list[str], list[AttributeValue]]] = {}
    numbers: list[int] = []
    number = numbers.append
    find = groups.get
    for span in spans:
        attributes = span.attributes
        look = (span.kind, span.scope_name, span.status_code, *attributes)
        group = find(look)
        if group is None:
            group = groups[look] = (len(groups), [], [])
        number(group[0])
        group[1].append(span.name)
        group[2].extend(attributes.values())
    group_of = np.fromiter(numbers, np.intp, len(numbers))
    order = np.argsort(group_of, kind="stable")
    ends = np.cumsum(np.bincount(group_of, minlength=len(groups))).tolist()
    found: list[Layout] = []
    begin = 0
    for (look, (_, names, values)), end in zip(groups.items(), ends, strict=True):
        kind, scope, status, *keys = look
        positions = order[begin:end]
        begin = end
        layout = Layout("other", kind, scope, status, tuple(keys), positions, names, values)  # type: ignore[arg-type]
        found.extend(_by_role(layout, spans))
    return found


def _by_role(layout: Layout, spans: Sequence[Span]) -> Iterator[Layout]:
    """Give the layout its role; where its spans are of several, as many layouts."""
    if _all_alike(layout):
        yield replace(layout, role=role_of(spans[layout.positions[0]]))
        return
    roles = [role_of(spans[position]) for position in layout.positions.tolist()]
    for role in dict.fromkeys(roles):
        rows = [row for row, one in enumerate(roles) if one == role]
        wide = len(layout.keys)
        yield replace(
            layout,
            role=role,
            positions=layout.positions[rows],
            names=[layout.names[row] for row in rows],
            values=[value for row in rows for value in layout.values[row * wide : (row + 1) * wide]],
        )


def _all_alike(layout: Layout) -> bool:
    """Whether nothing that a role is told by differs between the spans of a layout."""
    if layout.kind in ("producer", "consumer"):
        return True
    for key in (c.GEN_AI_OPERATION_NAME, c.MESSAGING_OPERATION_NAME):
        if key in layout.keys:
            values = layout.column(key)
            if set(map(type, values)) != {str} or len(set(values)) > 1:
                return False
    return c.APPROVAL_ID not in layout.keys or c.GEN_AI_OPERATION_NAME in layout.keys
