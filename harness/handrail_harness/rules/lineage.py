"""Compares the tree with an independent witness: Celery's own `parent_id` and `root_id`, which travel
apart from it.

A message sent from within a task names that task as its parent. In the tree that task is the nearest
`process` span above; where an agent was parked and woken, it may also be the one that the segment's links
lead to; where a chain, a chord or a callback goes on, the one whose end let the message be sent. What is sent from a
delivery that was none of Celery's has no task to name: its lineage begins there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from handrail_harness.forest import Forest, Key, key_of
from handrail_harness.identities import Flags
from handrail_harness.rules.ancestry import Above, receipts_above, ways_up
from handrail_harness.rules.doubtful import FOLLOWS, doubtful
from handrail_harness.rules.handoffs import message_id_of
from handrail_harness.spans import Span
from handrail_propagation.conventions import (
    LINK_PREDECESSOR,
    LINK_TYPE,
    MESSAGE_PARENT_ID,
    MESSAGE_ROOT_ID,
)

_TASKS_MAX: Final = 64
"""More tasks than this above one message is no lineage any more; such a message is not judged."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A `process` span whose place in the tree is not where Celery says that its message came from."""

    consumer: Span
    attribute: str
    says: str
    tree: str
    evidence: tuple[Span, ...]


def disagreements(forest: Forest, known: Iterable[Span]) -> list[Disagreement]:
    """Return every disagreement, at most one a message receipt; `known` are consumers that are broken already."""
    spans = forest.columns.spans
    skip = {key_of(span) for span in known}
    over = receipts_above(forest.columns)
    suspects = [one for one in doubtful(forest.columns, over).tolist() if key_of(spans[one]) not in skip]
    return explain(forest, over, suspects, skip) if suspects else []


def explain(
    forest: Forest, over: Above, positions: Iterable[int], misplaced: Collection[Key]
) -> list[Disagreement]:
    """Return the disagreements at these receipts, from links and all; `misplaced` are known to be broken."""
    spans = forest.columns.spans
    in_order = sorted(
        positions, key=lambda position: (spans[position].start_unix_nano, spans[position].span_id)
    )
    above = _Tasks(forest, over, ways_up(forest.columns, np.array(in_order, np.intp)), misplaced)
    found: list[tuple[Span, str, str, str]] = []
    for position in in_order:
        consumer = spans[position]
        own = message_id_of(consumer)
        parent_id, root_id = consumer.text(MESSAGE_PARENT_ID), consumer.text(MESSAGE_ROOT_ID)
        tasks = above.tasks(position)
        if tasks is None or own in tasks:  # a retry below its first attempt keeps the first attempt's parent
            continue
        if parent_id:
            # A task that nobody delegated names itself as the parent of its retry: that is sent from within it.
            agrees = parent_id in tasks or (parent_id == own and not tasks)
            attribute, says = MESSAGE_PARENT_ID, parent_id
        else:
            agrees = not (root_id and root_id == own and tasks)
            attribute, says = MESSAGE_ROOT_ID, root_id
        top = above.top(position)
        if agrees and parent_id and root_id and top and root_id != top and above.complete(position):
            agrees, attribute, says, tasks = False, MESSAGE_ROOT_ID, root_id, frozenset({top})
        if not agrees:
            found.append((consumer, attribute, says, " or ".join(sorted(tasks)[:3])))
    of_message = _last_receipts(forest) if found else {}
    return [
        Disagreement(
            consumer=consumer,
            attribute=attribute,
            says=says,
            tree=tree,
            evidence=() if (witness := of_message.get(says)) is None or witness is consumer else (witness,),
        )
        for consumer, attribute, says, tree in found
    ]


def _last_receipts(forest: Forest) -> dict[str, Span]:
    """Return for each message its receipt that came last."""
    return {
        message_id_of(span): span for span in forest.spans if span.kind == "consumer" and message_id_of(span)
    }


class _Tasks:
    """The tasks above a span, each step of the way climbed once however deep the tree."""

    def __init__(self, forest: Forest, over: Above, looked_at: Flags, misplaced: Collection[Key]) -> None:
        columns = forest.columns
        self._receipt = over.receipt
        self._looked_at = looked_at
        self._spans = columns.spans
        self._parent: list[int] = columns.parent.tolist()
        self._orphan = ((columns.parent < 0) & ~columns.parentless).tolist()
        self._misplaced = misplaced
        self._tasks: dict[int, frozenset[str] | None] = {}
        self._top: dict[int, tuple[str, bool]] = {}
        self._columns = columns

    @cached_property
    def _leads(self) -> dict[int, list[int]]:
        """Where the links of each span lead that say what it follows from."""
        leads: dict[int, list[int]] = {}
        owners, targets = self._columns.links(*FOLLOWS, of=self._looked_at)
        for position, target in zip(owners.tolist(), targets.tolist(), strict=True):
            leads.setdefault(position, []).append(target)
        return leads

    def tasks(self, position: int) -> frozenset[str] | None:
        """Return the message ids of the tasks that a span runs in; `None` when that cannot be told."""
        return self._climb_tasks(self._parent[position])

    def top(self, position: int) -> str:
        """Return the message id of the topmost task above the span, or `""`."""
        return self._climb_top(position)[0]

    def complete(self, position: int) -> bool:
        """Return whether the way up ends in a root, not in a missing parent or a loop, past nothing misplaced."""
        return self._climb_top(position)[1]

    def _climb_tasks(self, at: int) -> frozenset[str] | None:
        path: list[int] = []
        known: frozenset[str] | None = frozenset()
        on_path: set[int] = set()
        while at >= 0:
            if at in self._tasks:
                known = self._tasks[at]
                break
            if at in on_path:
                known = None
                break
            span = self._spans[at]
            if span.kind == "consumer":
                # Without its id the task above cannot be compared with anything.
                own = message_id_of(span)
                known = frozenset({own}) if own and not _begins_lineage(span) else None
                self._tasks[at] = known
                break
            on_path.add(at)
            path.append(at)
            if self._orphan[at]:
                known = None  # what is missing may be the very task
            at = self._parent[at]
        for step in reversed(path):
            linked = self._linked(step)
            if linked and known is not None:
                known = known | linked if len(known) + len(linked) <= _TASKS_MAX else None
            self._tasks[step] = known
        return known

    def _linked(self, position: int) -> frozenset[str]:
        found: set[str] = set()
        if not self._spans[position].links:
            return frozenset()
        for leads_to in self._leads.get(position, ()):
            is_receipt = self._spans[leads_to].kind == "consumer"
            at = leads_to if is_receipt else int(self._receipt[leads_to])
            if at >= 0:
                found.add(message_id_of(self._spans[at]))
        return frozenset(found - {""})

    def _climb_top(self, at: int) -> tuple[str, bool]:
        path: list[int] = []
        on_path: set[int] = set()
        top = ("", True)
        while at >= 0:
            if at in self._top:
                top = self._top[at]
                break
            if at in on_path:
                top = ("", False)
                break
            on_path.add(at)
            path.append(at)
            if self._parent[at] < 0:
                top = ("", not self._orphan[at] and not _sent_from_a_task(self._spans[at]))
            at = self._parent[at]
        for step in reversed(path):
            span = self._spans[step]
            if span.kind == "consumer" and _begins_lineage(span):
                top = ("", top[1])
            elif not top[0] and span.kind == "consumer":
                top = (message_id_of(span), top[1])
            if (self._misplaced and key_of(span) in self._misplaced) or _follows_a_task(span):
                top = (top[0], False)  # what is above it is not what it came from
            self._top[step] = top
        return top


def _begins_lineage(delivery: Span) -> bool:
    """Whether a delivery was none of Celery's, every one of which has a root: what it sends is a root itself."""
    return not delivery.text(MESSAGE_ROOT_ID)


def _sent_from_a_task(root: Span) -> bool:
    """Whether a root is the receipt of a message that, says Celery, another task sent: a branch torn off."""
    if root.kind != "consumer":
        return False
    return bool(root.text(MESSAGE_PARENT_ID)) or root.text(MESSAGE_ROOT_ID) not in ("", message_id_of(root))


def _follows_a_task(span: Span) -> bool:
    """Whether a send hangs elsewhere than below the task whose end let it be sent."""
    return any(link.attributes.get(LINK_TYPE) == LINK_PREDECESSOR for link in span.links)
