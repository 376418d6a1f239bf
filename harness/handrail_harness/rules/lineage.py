"""Compares the tree with an independent witness: Celery's own `parent_id` and `root_id`, which travel
apart from it.

A message sent from within a task names that task as its parent. In the tree that task is the nearest
`process` span above; where an agent was parked and woken, it may also be the one that the segment's links
lead to; where a chain, a chord or a callback goes on, the one whose end let the message be sent. What is sent from a
delivery that was none of Celery's has no task to name: its lineage begins there.
"""

from __future__ import annotations

from dataclasses import dataclass

from handrail_harness.forest import Forest, Key, key_of
from handrail_harness.rules.handoffs import message_id_of
from handrail_harness.spans import Span
from handrail_propagation.conventions import (
    LINK_PREDECESSOR,
    LINK_PREVIOUS_SEGMENT,
    LINK_TYPE,
    LINK_WOKEN_BY,
    MESSAGE_PARENT_ID,
    MESSAGE_ROOT_ID,
)

_FOLLOWS = (LINK_WOKEN_BY, LINK_PREVIOUS_SEGMENT, LINK_PREDECESSOR)
_TASKS_MAX = 64
"""More tasks than this above one message is no lineage any more; such a message is not judged."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A `process` span whose place in the tree is not where Celery says that its message came from."""

    consumer: Span
    attribute: str
    says: str
    tree: str
    evidence: tuple[Span, ...]


def disagreements(forest: Forest, skip: frozenset[Key]) -> list[Disagreement]:
    """Return every disagreement, at most one a message receipt; `skip` holds consumers already known to
    be broken.
    """
    above = _Above(forest, skip)
    of_message = {
        message_id_of(span): span for span in forest.spans if span.kind == "consumer" and message_id_of(span)
    }
    found: list[Disagreement] = []
    for consumer in sorted(
        (span for span in forest.by_key.values() if span.kind == "consumer" and key_of(span) not in skip),
        key=lambda span: (span.start_unix_nano, span.span_id),
    ):
        own = message_id_of(consumer)
        parent_id, root_id = consumer.text(MESSAGE_PARENT_ID), consumer.text(MESSAGE_ROOT_ID)
        tasks = above.tasks(consumer)
        if tasks is None or own in tasks:  # a retry below its first attempt keeps the first attempt's parent
            continue
        if parent_id:
            # A task that nobody delegated names itself as the parent of its retry: that is sent from within it.
            agrees = parent_id in tasks or (parent_id == own and not tasks)
            attribute, says = MESSAGE_PARENT_ID, parent_id
        else:
            agrees = not (root_id and root_id == own and tasks)
            attribute, says = MESSAGE_ROOT_ID, root_id
        top = above.top(consumer)
        if agrees and parent_id and root_id and top and root_id != top and above.complete(consumer):
            agrees, attribute, says, tasks = False, MESSAGE_ROOT_ID, root_id, frozenset({top})
        if not agrees:
            witness = of_message.get(says)
            found.append(
                Disagreement(
                    consumer=consumer,
                    attribute=attribute,
                    says=says,
                    tree=" or ".join(sorted(tasks)[:3]),
                    evidence=(witness,) if witness is not None and witness is not consumer else (),
                )
            )
    return found


class _Above:
    """What is above a span, each step of the way climbed once however deep the tree."""

    def __init__(self, forest: Forest, misplaced: frozenset[Key]) -> None:
        self._forest = forest
        self._misplaced = misplaced
        self._tasks: dict[Key, frozenset[str] | None] = {}
        self._top: dict[Key, tuple[str, bool]] = {}

    def tasks(self, span: Span) -> frozenset[str] | None:
        """Return the message ids of the tasks that a span runs in; `None` when that cannot be told."""
        return self._climb_tasks(self._forest.parent_of(span))

    def top(self, span: Span) -> str:
        """Return the message id of the topmost task above the span, or `""`."""
        return self._climb_top(span)[0]

    def complete(self, span: Span) -> bool:
        """Return whether the way up ends in a root, not in a missing parent or a loop, past nothing misplaced."""
        return self._climb_top(span)[1]

    def _climb_tasks(self, start: Span | None) -> frozenset[str] | None:
        path: list[Span] = []
        known: frozenset[str] | None = frozenset()
        on_path: set[Key] = set()
        span = start
        while span is not None:
            key = key_of(span)
            if key in self._tasks:
                known = self._tasks[key]
                break
            if key in on_path:
                known = None
                break
            if span.kind == "consumer":
                # Without its id the task above cannot be compared with anything.
                own = message_id_of(span)
                known = frozenset({own}) if own and not _begins_lineage(span) else None
                self._tasks[key] = known
                break
            on_path.add(key)
            path.append(span)
            above = self._forest.parent_of(span)
            if above is None and span.parent_span_id.strip("0"):
                known = None  # what is missing may be the very task
            span = above
        for step in reversed(path):
            linked = self._linked(step)
            if linked and known is not None:
                known = known | linked if len(known) + len(linked) <= _TASKS_MAX else None
            self._tasks[key_of(step)] = known
        return known

    def _linked(self, span: Span) -> frozenset[str]:
        found: set[str] = set()
        for link in span.links:
            if link.attributes.get(LINK_TYPE) not in _FOLLOWS:
                continue
            target = self._forest.by_key.get((link.trace_id, link.span_id))
            steps = 0
            while target is not None and target.kind != "consumer" and steps < _TASKS_MAX:
                target, steps = self._forest.parent_of(target), steps + 1
            if target is not None and target.kind == "consumer":
                found.add(message_id_of(target))
        return frozenset(found - {""})

    def _climb_top(self, start: Span) -> tuple[str, bool]:
        path: list[Span] = []
        on_path: set[Key] = set()
        span: Span | None = start
        top = ("", True)
        while span is not None:
            key = key_of(span)
            if key in self._top:
                top = self._top[key]
                break
            if key in on_path:
                top = ("", False)
                break
            on_path.add(key)
            path.append(span)
            above = self._forest.parent_of(span)
            if above is None:
                top = ("", not span.parent_span_id.strip("0") and not _sent_from_a_task(span))
            span = above
        for step in reversed(path):
            if step.kind == "consumer" and _begins_lineage(step):
                top = ("", top[1])
            elif not top[0] and step.kind == "consumer":
                top = (message_id_of(step), top[1])
            if key_of(step) in self._misplaced or _follows_a_task(step):
                top = (top[0], False)  # what is above it is not what it came from
            self._top[key_of(step)] = top
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
