"""Invariants of hand-offs: received, under the send, the same message, where Celery says, and once."""

from __future__ import annotations

from collections.abc import Iterator

from handrail_harness.printable import printable
from handrail_harness.rules.base import Place
from handrail_harness.rules.facts import Facts
from handrail_harness.rules.handoffs import message_id_of
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


def handoff_once(facts: Facts) -> Iterator[Place]:
    """No attempt at a message was delivered twice, and no second attempt ran after one had succeeded.

    Attempts that failed, were abandoned or asked for a retry may be followed by another: that is what
    attempts are for.
    """
    for send in facts.by_role["send"]:
        receipts = [below for below in facts.forest.children_of(send) if below.kind == "consumer"]
        if len(receipts) < 2:
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


def _message(span: Span) -> str:
    message = message_id_of(span)
    return f"message {printable(message, 64)}" if message else "a message without id"
