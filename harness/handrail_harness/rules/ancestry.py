"""Which receipt is above a span, for all spans at once.

By pointer doubling: every span points at its parent, then at what that points at, and so on; a tree of depth `d` is
climbed in log2(d) steps of vector arithmetic, however hostile its shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handrail_harness.columns import CONSUMER, Columns
from handrail_harness.identities import NOWHERE, Flags, Positions


@dataclass(frozen=True, slots=True)
class Above:
    """What is above each of `n` spans.

    `receipt` is the nearest one, -1 where none is. `told` is whether that could be told: it cannot for what hangs in
    a circle of parents.
    """

    receipt: Positions
    told: Flags


def climb(step: Positions) -> tuple[Positions, Flags]:
    """Follow `step`: for each item where it leads, itself where a way ends.

    Returns for each item the end of its way, and whether there is one: a way that goes in a circle has none.
    """
    reached = step
    for _ in range(len(step).bit_length() + 1):
        further = reached[reached]
        if np.array_equal(further, reached):
            break
        reached = further
    return reached, step[reached] == reached


def receipts_above(columns: Columns) -> Above:
    """Find the nearest receipt strictly above each span."""
    reached, ended = climb(_way_up(columns))
    has_parent = columns.parent >= 0
    end = reached[columns.parent]
    is_receipt = has_parent & (columns.kind[end] == CONSUMER)
    return Above(np.where(is_receipt, end, NOWHERE), ~has_parent | ended[columns.parent])


def marked_above(columns: Columns, marked: Flags) -> Positions:
    """Find the nearest of the marked spans strictly above each, no further than the nearest receipt; -1: none."""
    way = _way_up(columns)
    reached, _ = climb(np.where(marked, np.arange(len(way)), way))
    end = reached[columns.parent]
    return np.where((columns.parent >= 0) & marked[end], end, NOWHERE)


def ways_up(columns: Columns, positions: Positions) -> Flags:
    """Mark what is above these spans, each up to the nearest receipt; the receipt is not marked."""
    parent, kind = columns.parent, columns.kind
    way = np.zeros(len(columns.spans), np.bool_)
    for at in parent[positions].tolist():  # one by one: there are few, and no step is taken twice
        while at >= 0 and not way[at] and kind[at] != CONSUMER:
            way[at] = True
            at = int(parent[at])
    return way


def _way_up(columns: Columns) -> Positions:
    """Where each span's way up leads next; it ends at receipts and at tops."""
    stays = (columns.kind == CONSUMER) | (columns.parent < 0)
    return np.where(stays, np.arange(len(columns.spans)), columns.parent)
