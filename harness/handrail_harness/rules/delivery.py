"""Invariants of hand-offs: received, under the send, the same message, where Celery says, and once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from handrail_harness.columns import CONSUMER, PRODUCER
from handrail_harness.identities import Positions
from handrail_harness.printable import printable
from handrail_harness.rules.base import Place
from handrail_harness.rules.facts import Facts
from handrail_harness.rules.handoffs import message_id_of
from handrail_harness.rules.screened import Screened
from handrail_harness.spans import Span
from handrail_propagation import conventions as c


def handoff_received(facts: Facts) -> Iterator[Place]:
    """Every message sent was received below its send; a send that failed put none into the queue."""
    for send in facts.handoffs.unreceived:
        yield Place(send, f"no process span below the send of {_message(send)}", (send,))


def consumer_has_handoff(facts: Facts) -> Iterator[Place]:
    """Every message received hangs below a send."""
    for consumer in facts.handoffs.stray:
        parent = facts.forest.parent_of(consumer)
        if parent is not None:
            detail = f"hangs below {printable(parent.name, 60)}, which is no send"
            yield Place(consumer, detail, (consumer, parent))
        elif consumer.parent_span_id.strip("0"):
            detail = f"its send {consumer.parent_span_id} is not among the spans"
            yield Place(consumer, detail, (consumer,), "healing")
        else:
            yield Place(consumer, "has no parent: its message came without trace context", (consumer,))


def handoff_same_message(facts: Facts) -> Iterator[Place]:
    """Send and receipt are of the same message."""
    for send, consumer in facts.handoffs.mismatched:
        yield Place(
            consumer, f"receipt of {_message(consumer)} under the send of {_message(send)}", (consumer, send)
        )


def lineage_agrees(facts: Facts) -> Iterator[Place]:
    """Celery's own lineage, which travels apart from the trace context, says the same as the tree."""
    for one in facts.disagreements:
        tree = printable(one.tree, 64) if one.tree else "no task above it"
        detail = f"{one.attribute} says {printable(one.says, 64)}, the tree {tree}"
        yield Place(one.consumer, detail, (one.consumer, *one.evidence))


def _received_often(facts: Facts) -> Positions:
    """Return the sends with more than one receipt below."""
    columns = facts.columns
    receipts = columns.edges[columns.kind[columns.edges] == CONSUMER]
    count = np.bincount(columns.parent[receipts], minlength=len(columns.spans))
    return np.flatnonzero((columns.kind == PRODUCER) & (count[columns.first] > 1))


def _once(facts: Facts, positions: Sequence[int]) -> Iterator[Place]:
    """No attempt at a message was delivered twice, and no second attempt ran after one had succeeded.

    Attempts that failed, were abandoned or asked for a retry may be followed by another: that is what
    attempts are for.
    """
    for position, children in facts.below(positions).items():
        send = facts.spans[position]
        receipts = [below for below in facts.columns.at(children) if below.kind == "consumer"]
        if send.kind != "producer" or len(receipts) < 2:
            continue
        seen: dict[tuple[str, int], Span] = {}
        done: dict[str, Span] = {}
        for receipt in receipts:
            message = message_id_of(receipt)
            number = receipt.attributes.get(c.MESSAGE_ATTEMPT)
            attempt = number if isinstance(number, int) else None
            before = done.get(message)
            twin = seen.setdefault((message, attempt), receipt) if attempt is not None else receipt
            if twin is not receipt:
                yield Place(
                    receipt, f"attempt {attempt} of {_message(receipt)} ran before", (receipt, twin, send)
                )
            elif before is not None:
                detail = f"{_message(receipt)} ran again after it had been processed"
                yield Place(receipt, detail, (receipt, before, send))
            if receipt.status_code != "error":
                done.setdefault(message, receipt)


handoff_once: Final = Screened(_received_often, _once)


def _message(span: Span) -> str:
    message = message_id_of(span)
    return f"message {printable(message, 64)}" if message else "a message without id"
