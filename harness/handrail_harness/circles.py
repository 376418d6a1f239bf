"""Cycles of parents, found without following every span up to its root."""

from __future__ import annotations

from handrail_harness.columns import Columns


def loops(columns: Columns) -> list[list[int]]:
    """Return the members of every loop, parent after child, from the earliest on."""
    edges = columns.edges
    # In a circle not every span can begin after its parent: only those that do not are followed.
    suspects = edges[columns.start[edges] <= columns.start[columns.parent[edges]]]
    if not len(suspects):
        return []
    above: list[int] = columns.parent.tolist()
    walk_of: dict[int, int] = {}
    found: list[list[int]] = []
    for number, start in enumerate(columns.first[suspects].tolist()):
        # Each step is taken once: a walk that comes back to itself has gone in a circle.
        at: int = start
        while at >= 0 and at not in walk_of:
            walk_of[at] = number
            at = above[at]
        if at >= 0 and walk_of[at] == number:
            members = [at]
            while (following := above[members[-1]]) != at:
                members.append(following)
            first = min(range(len(members)), key=lambda place: _by_start(columns, members[place]))
            found.append(members[first:] + members[:first])
    return found


def _by_start(columns: Columns, position: int) -> tuple[int, str, str]:
    span = columns.spans[position]
    return (span.start_unix_nano, span.trace_id, span.span_id)
