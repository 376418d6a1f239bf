"""Invariants of where a span hangs and when it runs: under a parent of the right kind, and inside its time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from handrail_harness.identities import Positions
from handrail_harness.printable import printable
from handrail_harness.roles import Role
from handrail_harness.rules.base import Place
from handrail_harness.rules.facts import ROLE_NUMBERS, ROLES, Facts
from handrail_harness.rules.screened import Screened
from handrail_harness.spans import Span
from handrail_propagation import conventions as c

_WORK: Final[frozenset[Role]] = frozenset({"process", "agent", "tool", "other"})
"""Where work is done: what an agent, a tool or a plain task does hangs below one of these."""

ALLOWED_PARENTS: Final[dict[Role, frozenset[Role]]] = {
    "process": frozenset({"send"}),
    "send": _WORK | {"delegation", "memory", "retrieval"},
    "delegation": _WORK,
    "agent": _WORK,
    "chat": _WORK | {"retrieval", "memory"},
    "tool": _WORK,
    "retrieval": _WORK,
    "memory": _WORK | {"retrieval"},
    "embeddings": _WORK | {"retrieval", "memory"},
    "approval": frozenset({"agent"}),
    "settle": frozenset({"process"}),
    "other": frozenset(ROLES) - {"send"},
}
"""Which parents a span of a role may have. A root has none; that is `one_root`'s and `no_orphans`' business."""

_ALLOWED: Final = np.array([[above in ALLOWED_PARENTS[role] for above in ROLES] for role in ROLES])
"""The same by numbers of roles: span's, parent's."""
_PROCESS: Final = ROLE_NUMBERS["process"]
_AGENT: Final = ROLE_NUMBERS["agent"]
_SEND: Final = ROLE_NUMBERS["send"]

SAME_PROCESS_SLACK: Final = 1_000_000
"""Nanoseconds. One process has one clock, but start times that Celery gives are floats of seconds."""
OTHER_PROCESS_SLACK: Final = 1_000_000_000
"""Nanoseconds by which the clocks of two machines may differ before a child is out of its parent's time."""


def _misplaced(facts: Facts) -> Positions:
    columns, role = facts.columns, facts.role
    edges = columns.edges
    found: Positions = edges[~_ALLOWED[role[edges], role[columns.parent[edges]]]]
    return found


def _where_it_hangs(facts: Facts, positions: Sequence[int]) -> Iterator[Place]:
    """A receipt hangs below a send, and below a send hangs nothing but receipts and the client's own calls."""
    for at, above_at in facts.with_parents(positions):
        span, parent = facts.spans[at], facts.spans[above_at]
        role, above = span.look.role, parent.look.role
        # Below a send, a call of the broker's client (`LPUSH`) is in place; anything else was caught by a span
        # that was left current.
        allowed = above in ALLOWED_PARENTS[role] or (
            role == "other" and above == "send" and span.kind == "client"
        )
        if not allowed:
            yield Place(
                span,
                f"{_AS[role]} below {printable(parent.name, 60)}, {_AS[above]}",
                (span, parent),
            )


allowed_parent: Final = Screened(_misplaced, _where_it_hangs)


def _out_of_time(facts: Facts) -> Positions:
    columns, role = facts.columns, facts.role
    edges = columns.edges
    parent = columns.parent[edges]
    early = columns.start[parent] - columns.start[edges] > SAME_PROCESS_SLACK
    late = columns.end[edges] - columns.end[parent] > SAME_PROCESS_SLACK
    # What every run is full of: a send does not wait for its receipt.
    late &= (role[edges] != _PROCESS) | (role[parent] != _SEND)
    segments = late & (role[edges] == _AGENT) & (role[parent] == _AGENT)
    if segments.any():  # nor does an agent's first segment for its later ones
        later = np.zeros(len(columns.spans), np.bool_)
        later[edges[segments]] = True
        owners, _ = columns.links(c.LINK_PREVIOUS_SEGMENT, c.LINK_WOKEN_BY, of=later)
        late &= ~(segments & np.isin(edges, owners))
    found: Positions = edges[early | late]
    return found


def _when_it_runs(facts: Facts, positions: Sequence[int]) -> Iterator[Place]:
    """A span lies within its parent's time, unless its parent does not wait for it; none starts before its parent.

    Not waited for: a receipt by its send, an agent's later segment by its first, the next step of a chain by
    who built the chain, what follows from a failed delivery by that delivery, the wait for a human by the
    segment that asked.
    """
    for at, above_at in facts.with_parents(positions):
        span, parent = facts.spans[at], facts.spans[above_at]
        early = parent.start_unix_nano - span.start_unix_nano
        late = span.end_unix_nano - parent.end_unix_nano
        if early <= 0 and late <= 0:
            continue
        same = span.resource is parent.resource or span.resource == parent.resource
        slack = SAME_PROCESS_SLACK if same else OTHER_PROCESS_SLACK
        if early > slack:
            yield Place(span, f"starts {_seconds(early)} before its parent", (span, parent))
        elif late > slack and not _outlives(span, parent):
            yield Place(span, f"ends {_seconds(late)} after its parent", (span, parent))


inside_parent: Final = Screened(_out_of_time, _when_it_runs)


def _outlives(span: Span, parent: Span) -> bool:
    """Whether nobody promised that the parent waits for the span."""
    role, above = span.look.role, parent.look.role
    if parent.attributes.get(c.ABANDONED) is True or span.attributes.get(c.ABANDONED) is True:
        return True  # its end is when somebody noticed
    if role == "process" and above == "send":
        return True
    if role == "approval":
        return True
    types = {link.attributes.get(c.LINK_TYPE) for link in span.links}
    if role == "agent" and above == "agent":
        return bool(types & {c.LINK_PREVIOUS_SEGMENT, c.LINK_WOKEN_BY})
    if role == "send" and above == "process" and parent.status_code == "error":
        return True  # errbacks, and what tells the caller, follow from the end of a failed delivery
    return role == "send" and c.LINK_PREDECESSOR in types


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:,.1f} ms" if nanoseconds < 1_000_000_000 else f"{nanoseconds / 1e9:,.1f} s"


_AS: Final[dict[Role, str]] = {
    "process": "a receipt",
    "send": "a send",
    "delegation": "a delegation",
    "agent": "an agent",
    "chat": "a model call",
    "tool": "a tool call",
    "retrieval": "a retrieval",
    "memory": "a memory access",
    "embeddings": "embeddings",
    "approval": "a wait for a human",
    "settle": "an acknowledgement",
    "other": "a span of its own kind",
}
