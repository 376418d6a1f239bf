"""Who sent what, and where it was received: joins sends and receipts that the tree does not join, and
says so.

A join is by message id (the task id, which Celery carries apart from the trace context), else by Celery's own
lineage. It is evidence in a report; the forest stays as it was exported.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress, islice
from operator import ne
from typing import Literal

import numpy as np

from handrail_harness.columns import CONSUMER, PRODUCER
from handrail_harness.forest import Forest, Key, by_start, key_of
from handrail_harness.spans import Span
from handrail_propagation.conventions import (
    MESSAGE_PARENT_ID,
    MESSAGING_DESTINATION_NAME,
    MESSAGING_MESSAGE_ID,
    MESSAGING_SYSTEM,
)

_CLIMB_MAX = 1000
"""So far is a send's own task looked for; beyond it a trace is hostile, and the climb would be quadratic."""


@dataclass(frozen=True, slots=True)
class BrokenHandoff:
    """A message whose receipt exists, yet not under its send span."""

    send: Span
    consumers: tuple[Span, ...]
    joined_by: Literal["message_id", "lineage"]

    def document(self) -> dict[str, object]:
        """Return the JSON form: the send span, its queue and message, and where its consumers are."""
        return {
            "send_span_id": self.send.span_id,
            "trace_id": self.send.trace_id,
            "queue": self.send.text(MESSAGING_DESTINATION_NAME) or None,
            "message_id": message_id_of(self.send) or None,
            "joined_by": self.joined_by,
            "consumers": [{"trace_id": span.trace_id, "span_id": span.span_id} for span in self.consumers],
        }


@dataclass(frozen=True, slots=True)
class Handoffs:
    """All hand-offs of a run. The first two are plain facts about the tree; the others are what explains
    them.

    `unreceived`: sends without a consumer below. `stray`: consumers whose parent is no send. `broken`:
    sends and consumers joined by evidence. `mismatched`: (send, consumer) pairs in the tree that are of
    different messages. `lost_sends`, `lost_consumers`: the unreceived and the stray for which no partner
    was found.
    """

    unreceived: tuple[Span, ...]
    stray: tuple[Span, ...]
    broken: tuple[BrokenHandoff, ...]
    mismatched: tuple[tuple[Span, Span], ...]
    lost_sends: tuple[Span, ...]
    lost_consumers: tuple[Span, ...]


def message_id_of(span: Span) -> str:
    """Return `messaging.message.id`, or `""`."""
    return span.text(MESSAGING_MESSAGE_ID)


def examine(forest: Forest) -> Handoffs:
    """Look at every PRODUCER and CONSUMER span of the forest."""
    columns = forest.columns
    spans = columns.spans
    sends = np.flatnonzero(columns.kind == PRODUCER)
    consumers = np.flatnonzero(columns.kind == CONSUMER)
    above = columns.parent[consumers]
    received = np.zeros(len(spans), np.bool_)
    received[above[above >= 0]] = True
    below_send = (above >= 0) & (columns.kind[above] == PRODUCER)

    # A send that failed put no message into the queue: nobody has to receive it.
    unreceived = _in_order(
        send
        for send in columns.at(sends[~received[columns.first[sends]]].tolist())
        if send.status_code != "error"
    )
    stray = _in_order(columns.at(consumers[~below_send].tolist()))
    senders, receivers = columns.at(above[below_send].tolist()), columns.at(consumers[below_send].tolist())
    differs = map(
        ne, *([one.attributes.get(MESSAGING_MESSAGE_ID) for one in two] for two in (senders, receivers))
    )
    mismatched = [
        (send, consumer)
        for send, consumer in compress(zip(senders, receivers, strict=True), differs)
        if (sent := message_id_of(send)) and (own := message_id_of(consumer)) and sent != own
    ]
    mismatched.sort(key=lambda pair: by_start(pair[1]))

    in_order = _in_order(columns.at(sends.tolist())) if stray else []
    joined, how = _join(forest, in_order, unreceived, stray)
    broken = tuple(BrokenHandoff(forest.by_key[key], tuple(found), how[key]) for key, found in joined.items())
    accounted = {id(consumer) for handoff in broken for consumer in handoff.consumers}
    elsewhere = {message_id_of(consumer) for _, consumer in mismatched}
    return Handoffs(
        unreceived=tuple(unreceived),
        stray=tuple(stray),
        broken=broken,
        mismatched=tuple(mismatched),
        lost_sends=tuple(
            send for send in unreceived if key_of(send) not in joined and message_id_of(send) not in elsewhere
        ),
        lost_consumers=tuple(consumer for consumer in stray if id(consumer) not in accounted),
    )


def _in_order(spans: Iterable[Span]) -> list[Span]:
    return sorted(spans, key=by_start)


def _join(
    forest: Forest, sends: list[Span], unreceived: list[Span], stray: list[Span]
) -> tuple[dict[Key, list[Span]], dict[Key, Literal["message_id", "lineage"]]]:
    """Find for each stray consumer the send of its message."""
    if not stray:
        return {}, {}
    sent_as: dict[str, list[Span]] = defaultdict(list)
    for send in sends:
        if message_id_of(send):
            sent_as[message_id_of(send)].append(send)
    waiting: dict[str, deque[Span]] = defaultdict(deque)
    for send in unreceived:
        waiting[message_id_of(send)].append(send)
    joined: dict[Key, list[Span]] = {}
    how: dict[Key, Literal["message_id", "lineage"]] = {}
    for consumer in stray:
        candidates = sent_as.get(message_id_of(consumer))
        if candidates:
            untaken = waiting[message_id_of(consumer)]
            send = untaken.popleft() if untaken else candidates[-1]
            joined.setdefault(key_of(send), []).append(consumer)
            how[key_of(send)] = "message_id"
    nameless = [one for one in stray if not message_id_of(one) and one.text(MESSAGE_PARENT_ID)]
    if not nameless:
        return joined, how
    by_sender: dict[str, dict[str, list[Span]]] = defaultdict(lambda: defaultdict(list))
    for send in unreceived:
        if key_of(send) not in joined:
            by_sender[_sending_task(forest, send)][send.text(MESSAGING_DESTINATION_NAME)].append(send)
    for consumer in nameless:
        sent = by_sender[consumer.text(MESSAGE_PARENT_ID)]
        unclaimed = [send for name in _sent_to(consumer, sent) for send in sent.pop(name)]
        if len(unclaimed) == 1:
            joined[key_of(unclaimed[0])] = [consumer]
            how[key_of(unclaimed[0])] = "lineage"
    return joined, how


def _sent_to(consumer: Span, destinations: Iterable[str]) -> list[str]:
    """Return which of these destinations of sends a consumer's is: RabbitMQ's consumers add the queue to it."""
    name = consumer.text(MESSAGING_DESTINATION_NAME)
    is_longer = consumer.text(MESSAGING_SYSTEM) == "rabbitmq"
    return [one for one in destinations if name == one or (is_longer and name.startswith(f"{one}:"))]


def _sending_task(forest: Forest, send: Span) -> str:
    for above in islice(forest.ancestors_of(send), _CLIMB_MAX):
        if above.kind == "consumer":
            return message_id_of(above)
    return ""
