"""Which receipts' lineage needs a closer look: nearly all of them agree with the tree at a glance.

All receipts at once, by vector arithmetic; `lineage` looks at what this names, with links and all, and decides.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from handrail_harness.columns import CONSUMER, Columns
from handrail_harness.identities import NOWHERE, Flags, Positions
from handrail_harness.rules.ancestry import Above, climb, marked_above, ways_up
from handrail_harness.spans import AttributeValue
from handrail_propagation.conventions import (
    LINK_PREDECESSOR,
    LINK_PREVIOUS_SEGMENT,
    LINK_WOKEN_BY,
    MESSAGE_PARENT_ID,
    MESSAGE_ROOT_ID,
    MESSAGING_MESSAGE_ID,
)

FOLLOWS: Final = (LINK_WOKEN_BY, LINK_PREVIOUS_SEGMENT, LINK_PREDECESSOR)
"""Types of the links that lead from a span to a task that it comes from, wherever it hangs."""
_NONE: Final = 0


def doubtful(columns: Columns, over: Above) -> Positions:
    """Return the receipts of which Celery may say something else than the tree: too many of them, never too few.

    A receipt agrees whose parent task is the nearest above, or where a link on the way there leads, and whose root
    task is the topmost.
    """
    receipts = np.flatnonzero((columns.kind == CONSUMER) & (columns.first == np.arange(len(columns.spans))))
    if not len(receipts):
        return receipts
    attributes = [span.attributes for span in columns.at(receipts.tolist())]
    numbers: dict[object, int] = {}
    own = _numbered(numbers, [one.get(MESSAGING_MESSAGE_ID) for one in attributes])
    parent = _numbered(numbers, [one.get(MESSAGE_PARENT_ID) for one in attributes])
    root = _numbered(numbers, [one.get(MESSAGE_ROOT_ID) for one in attributes])

    place = np.full(len(columns.spans), NOWHERE)  # of a receipt among the receipts
    place[receipts] = np.arange(len(receipts))
    above, told = over.receipt[receipts], over.told[receipts]
    has_above = above >= 0
    near = place[above]  # anything where there is none
    begins = (root == _NONE) | (root != own)
    parent_agrees = np.where(parent == _NONE, begins, has_above & (parent == own[near]))
    # A lineage begins below a delivery that was none of Celery's.
    follows = has_above & told & (root[near] != _NONE)
    top, ended = climb(np.where(follows, near, np.arange(len(receipts))))
    root_agrees = (parent == _NONE) | (root == _NONE) | ((root == own[top]) & ended)

    unclear = np.flatnonzero(told & root_agrees & ~parent_agrees & ((parent != _NONE) | ~has_above))
    if len(unclear):
        message = np.full(len(columns.spans), _NONE)
        message[receipts] = own
        parent_agrees[unclear] = _agree_by_links(columns, over, message, receipts[unclear], parent[unclear])
    found: Positions = receipts[~(told & parent_agrees & root_agrees)]
    return found


def _agree_by_links(
    columns: Columns, over: Above, message: Positions, receipts: Positions, parent: Positions
) -> Flags:
    """Return whether a link above each receipt leads to the parent task it names; to none, where it names none.

    `message` is the number of each span's message, `parent` that of the task which each receipt names. Only the
    nearest span above with such links is looked at.
    """
    owners, targets = columns.links(*FOLLOWS, of=ways_up(columns, receipts))
    led = np.where(columns.kind[targets] == CONSUMER, targets, over.receipt[targets])
    owners, led = owners[led >= 0], led[led >= 0]
    marked = np.zeros(len(columns.spans), np.bool_)
    marked[owners] = True
    owner = marked_above(columns, marked)[receipts]
    width = int(max(message.max(), parent.max())) + 1  # makes one number of a span and a message
    leads = (owner >= 0) & np.isin(owner * width + parent, owners * width + message[led])
    return np.where(parent == _NONE, owner < 0, leads)


def _numbered(numbers: dict[object, int], texts: list[AttributeValue]) -> Positions:
    """Number texts from 1 in the order in which they come; `_NONE` is what is empty or no text."""
    return np.fromiter(
        (
            numbers.setdefault(text, len(numbers) + 1) if text and isinstance(text, str) else _NONE
            for text in texts
        ),
        np.intp,
        len(texts),
    )
