"""From a run's spans to a `Report`: every breach of a rule is accounted for by exactly one finding.

A fault has echoes: a message that lost its trace context leaves a send without consumer, a consumer
without send, a second root and a second trace. The echoes stay in the report's facts; the finding names
the fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from handrail_harness.findings.base import Finding, gravest_first
from handrail_harness.forest import Forest, Key, build, key_of, parent_key_of
from handrail_harness.printable import printable
from handrail_harness.rules.facts import Facts
from handrail_harness.rules.handoffs import BrokenHandoff, Handoffs, message_id_of
from handrail_harness.rules.lineage import Disagreement
from handrail_harness.rules.reading import RunSpans, read_run
from handrail_harness.rules.report import Report
from handrail_harness.rules.table import breaches_of
from handrail_harness.rules.waivers import Waiver, apply
from handrail_harness.sources.base import Source
from handrail_harness.spans import Span
from handrail_propagation.conventions import (
    GEN_AI_AGENT_NAME,
    LINK_CLAIMED,
    LINK_TYPE,
    MESSAGING_DESTINATION_NAME,
)

_EVIDENCE_MAX = 20


def check(source: Source, trace_id: str | None = None, waivers: Sequence[Waiver] = ()) -> Report:
    """Examine the run that a trace belongs to (the latest trace for `None`).

    Raises `TraceNotFound` when there is none, `SourceError` when the source cannot be read.
    """
    return examine_run(read_run(source, trace_id), waivers)


def examine_run(run: RunSpans, waivers: Sequence[Waiver] = ()) -> Report:
    """Examine spans that have been read already; `waivers` excuse breaches of invariants."""
    facts = Facts(build(run.spans), run.events)
    sorted_out = apply(waivers, breaches_of(facts))
    return Report(
        source=run.source,
        trace_id=run.trace_id,
        run_id=run.run_id,
        trace_ids=run.trace_ids,
        forest=facts.forest,
        handoffs=facts.handoffs,
        disagreements=facts.disagreements,
        findings=tuple(gravest_first(_findings(facts.forest, facts.handoffs, facts.disagreements))),
        breaches=sorted_out.standing,
        excused=sorted_out.excused,
        unused_waivers=sorted_out.unused,
    )


def _findings(forest: Forest, handoffs: Handoffs, differing: tuple[Disagreement, ...]) -> Iterable[Finding]:
    stray = {id(span) for span in handoffs.stray}
    twice = {
        key_of(copy)
        for duplicate in forest.duplicates
        if not duplicate.identical
        for copy in duplicate.copies
    }
    missing = _missing_parents(forest)
    cut_off = {
        key
        for key, spans in missing.items()
        if any(id(span) in stray for span in spans) or all(key_of(span) in twice for span in spans)
    }

    for handoff in handoffs.broken:
        yield _broken(handoff)
    for send in handoffs.lost_sends:
        work = _work_of(send, forest, missing, cut_off)
        if work:
            cut_off.add(work)
        yield _lost_send(send, missing[work] if work else ())
    for consumer in handoffs.lost_consumers:
        yield _lost_consumer(consumer, forest)
    for send, consumer in handoffs.mismatched:
        yield Finding(
            consumer,
            "lineage_disagreement",
            "high",
            f"receipt of message {_id(message_id_of(consumer))} hangs under the send of message "
            f"{_id(message_id_of(send))}",
            (consumer, send),
        )
    for one in differing:
        yield Finding(
            one.consumer,
            "lineage_disagreement",
            "high",
            f"{one.attribute} of message {_id(message_id_of(one.consumer))} says {_id(one.says)}, "
            + (f"the tree says {_id(one.tree)}" if one.tree else "the tree has no task above it"),
            (one.consumer, *one.evidence),
        )
    for key, spans in missing.items():
        if key not in cut_off:
            yield Finding(
                spans[0],
                "orphan",
                "high",
                f"parent {key[1]} is not among the spans; {_count(len(spans), 'span')} hang"
                f"{'s' if len(spans) == 1 else ''} from it",
                tuple(spans[:_EVIDENCE_MAX]),
            )
    for duplicate in forest.duplicates:
        if not duplicate.identical:  # telemetry is delivered at least once: the same span again is no fault
            yield Finding(
                duplicate.copies[0],
                "duplicate_span",
                "medium",
                f"occurs {len(duplicate.different)} times, the copies differ",
                (duplicate.copies[0],),
            )
    for loop in forest.loops:
        yield Finding(
            loop[0],
            "cycle",
            "high",
            "is its own parent" if len(loop) == 1 else f"{len(loop)} spans are each other's ancestors",
            loop[:_EVIDENCE_MAX],
        )
    yield from _extra_roots(forest, stray, twice)


def _extra_roots(forest: Forest, stray: set[int], twice: set[Key]) -> Iterable[Finding]:
    own = [root for root in forest.roots if id(root) not in stray]
    main = next(iter(own), None)
    for root in own[1:]:
        if main is None or key_of(root) in twice:
            continue
        if root.trace_id != main.trace_id:
            detail = f"trace {root.trace_id} begins here, apart from {main.trace_id}, with the same run id"
            yield Finding(root, "extra_trace", "high", detail, (root, main))
        else:
            detail = f"a second root beside {printable(main.name, 60)} ({main.span_id})"
            yield Finding(root, "extra_root", "high", detail, (root, main))


def _missing_parents(forest: Forest) -> dict[Key, list[Span]]:
    missing: dict[Key, list[Span]] = {}
    for orphan in forest.orphans:
        key = parent_key_of(orphan)
        if key is not None:
            missing.setdefault(key, []).append(orphan)
    return missing


def _work_of(send: Span, forest: Forest, missing: dict[Key, list[Span]], taken: set[Key]) -> Key | None:
    """Return the missing span whose children are the work on this message: its receipt was never exported."""
    queue = send.text(MESSAGING_DESTINATION_NAME)
    above = forest.parent_of(send)
    agent = above.text(GEN_AI_AGENT_NAME) if above is not None else ""
    for key, spans in missing.items():
        if key in taken or key[0] != send.trace_id or spans[0].start_unix_nano < send.start_unix_nano:
            continue
        names = {span.text(GEN_AI_AGENT_NAME) for span in spans} - {""}
        if any(name == agent or (queue and queue.endswith(name)) for name in names):
            return key
    return None


def _broken(handoff: BrokenHandoff) -> Finding:
    send = handoff.send
    where = ", ".join(
        f"span {one.span_id} in trace {one.trace_id}" for one in islice(handoff.consumers, 3)
    ) + (f" and {len(handoff.consumers) - 3} more" if len(handoff.consumers) > 3 else "")
    disbelieved = all(
        any(link.attributes.get(LINK_TYPE) == LINK_CLAIMED for link in one.links) for one in handoff.consumers
    )
    how = "" if handoff.joined_by == "message_id" else " (told by Celery's parent_id)"
    return Finding(
        send,
        "broken_handoff",
        "high",
        f"send {send.span_id}, {_message(send)}: its consumer is {where}{how}, not under the send; "
        + (
            "its worker does not believe this producer"
            if disbelieved
            else "the message lost its trace context"
        ),
        (send, *handoff.consumers[:_EVIDENCE_MAX]),
    )


def _lost_send(send: Span, work: Iterable[Span]) -> Finding:
    work = tuple(work)
    if work:
        rest = f"its process span is missing, though {_count(len(work), 'span')} of the work is there"
    else:
        rest = (
            "no consumer span; not received yet, received by a worker without tracing, or its spans were lost"
        )
    return Finding(
        send,
        "handoff_without_consumer",
        "high",
        f"send {send.span_id}, {_message(send)}: {rest}",
        (send, *work[:_EVIDENCE_MAX]),
    )


def _lost_consumer(consumer: Span, forest: Forest) -> Finding:
    parent = forest.parent_of(consumer)
    if parent is not None:
        rest = f"its parent {printable(parent.name, 60)} ({parent.span_id}) is no send"
    elif consumer.parent_span_id.strip("0"):
        rest = f"its send {consumer.parent_span_id} is not among the spans"
    else:
        rest = "it has no parent; it was sent without trace context"
    evidence = (consumer,) if parent is None else (consumer, parent)
    return Finding(
        consumer,
        "consumer_without_handoff",
        "high",
        f"process {consumer.span_id}, {_message(consumer)}: {rest}",
        evidence,
    )


def _message(span: Span) -> str:
    queue = span.text(MESSAGING_DESTINATION_NAME)
    return f"queue {printable(queue, 60) if queue else '(unnamed)'}, message {_id(message_id_of(span))}"


def _id(text: str) -> str:
    return printable(text, 64) if text else "(no id)"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
