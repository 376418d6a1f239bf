"""Faults that `check` has a finding for: each breaks a clean run in one place, and says which, and at which span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from handrail_harness.spans import Span
from handrail_harness.strategies.edits import (
    NOBODY,
    OTHER_TRACE,
    Broken,
    Fault,
    Pick,
    below,
    child_of,
    of_kind,
    tools,
    with_attributes,
)
from handrail_propagation import conventions as c


def lost_traceparent(spans: Sequence[Span], pick: Pick) -> Broken:
    """A message loses its trace context: its receipt begins a trace of its own."""
    send = pick(of_kind(spans, "producer"))
    process = child_of(spans, send)
    torn = below(spans, process)
    moved = [replace(span, trace_id=OTHER_TRACE) if span.span_id in torn else span for span in spans]
    broken = [replace(span, parent_span_id="") if span.span_id == process.span_id else span for span in moved]
    return broken, "broken_handoff", send.span_id


def garbled_traceparent(spans: Sequence[Span], pick: Pick) -> Broken:
    """A message's trace context names a span that nobody has."""
    send = pick(of_kind(spans, "producer"))
    process = child_of(spans, send)
    broken = [
        replace(span, parent_span_id=NOBODY) if span.span_id == process.span_id else span for span in spans
    ]
    return broken, "broken_handoff", send.span_id


def worker_without_tracing(spans: Sequence[Span], pick: Pick) -> Broken:
    """A message is received by a worker that traces nothing."""
    send = pick(of_kind(spans, "producer"))
    gone = below(spans, child_of(spans, send))
    return [span for span in spans if span.span_id not in gone], "handoff_without_consumer", send.span_id


def process_span_lost(spans: Sequence[Span], pick: Pick) -> Broken:
    """A receipt was never exported; the work below it was."""
    process = pick(of_kind(spans, "consumer"))
    return [span for span in spans if span is not process], "handoff_without_consumer", process.parent_span_id


def send_span_lost(spans: Sequence[Span], pick: Pick) -> Broken:
    """A send was never exported."""
    send = pick(of_kind(spans, "producer"))
    process = child_of(spans, send)
    return [span for span in spans if span is not send], "consumer_without_handoff", process.span_id


def agent_span_lost(spans: Sequence[Span], pick: Pick) -> Broken:
    """An agent's span was never exported."""
    agent = pick([span for span in spans if span.name.startswith("invoke_agent") and span.kind == "internal"])
    children = [span for span in spans if span.parent_span_id == agent.span_id]
    first = min(children, key=lambda span: (span.start_unix_nano, span.span_id))
    return [span for span in spans if span is not agent], "orphan", first.span_id


def same_id_used_again(spans: Sequence[Span], pick: Pick) -> Broken:
    """Two different spans have one id."""
    span = pick([span for span in spans if span.kind == "internal"])
    return [*spans, replace(span, name="something else")], "duplicate_span", span.span_id


def own_parent(spans: Sequence[Span], pick: Pick) -> Broken:
    """A span names itself as its parent."""
    span = pick(tools(spans))
    broken = [replace(one, parent_span_id=one.span_id) if one is span else one for one in spans]
    return broken, "cycle", span.span_id


def second_root(spans: Sequence[Span], pick: Pick) -> Broken:
    """A span has lost its parent's id."""
    span = pick(tools(spans))
    broken = [replace(one, parent_span_id="") if one is span else one for one in spans]
    return broken, "extra_root", span.span_id


def second_trace(spans: Sequence[Span], pick: Pick) -> Broken:
    """A branch is in another trace, and no message explains it."""
    span = pick(tools(spans))
    torn = below(spans, span)
    moved = [replace(one, trace_id=OTHER_TRACE) if one.span_id in torn else one for one in spans]
    broken = [replace(one, parent_span_id="") if one.span_id == span.span_id else one for one in moved]
    return broken, "extra_trace", span.span_id


def under_another_send(spans: Sequence[Span], pick: Pick) -> Broken:
    """A receipt hangs below the send of another message."""
    # Not the first receipt: every other send is below it.
    process = pick(sorted(of_kind(spans, "consumer"), key=lambda span: span.start_unix_nano)[1:])
    forbidden = below(spans, process) | {process.parent_span_id}
    other = pick([send for send in of_kind(spans, "producer") if send.span_id not in forbidden])
    broken = [replace(one, parent_span_id=other.span_id) if one is process else one for one in spans]
    return broken, "lineage_disagreement", process.span_id


def lineage_says_otherwise(spans: Sequence[Span], pick: Pick) -> Broken:
    """Celery says that the message came from another task."""
    process = pick([span for span in of_kind(spans, "consumer") if span.text(c.MESSAGE_PARENT_ID)])
    return (
        with_attributes(spans, process, {c.MESSAGE_PARENT_ID: "another-task"}),
        "lineage_disagreement",
        process.span_id,
    )


def not_approved(spans: Sequence[Span], pick: Pick) -> Broken:
    """A destructive call ran although its approval was denied."""
    tool = pick([span for span in spans if span.text(c.APPROVAL_ID)])
    return with_attributes(spans, tool, {c.APPROVAL_OUTCOME: "denied"}), "unapproved_effect", tool.span_id


def not_recorded(spans: Sequence[Span], pick: Pick) -> Broken:
    """A call that changes something ran without a decision record."""
    tool = pick([span for span in spans if span.text(c.DECISION_ID)])
    return (
        with_attributes(spans, tool, {c.DECISION_ID: None, c.DECISION_INTENT: None}),
        "undeclared_effect",
        tool.span_id,
    )


def reader_writes(spans: Sequence[Span], pick: Pick) -> Broken:
    """A tool that declares to read deletes."""
    tool = pick([span for span in spans if span.text(c.DECISION_RISK) == "read"])
    write = replace(
        tool,
        span_id=NOBODY,
        parent_span_id=tool.span_id,
        name="DELETE",
        kind="client",
        attributes={
            c.RUN_ID: tool.text(c.RUN_ID),
            "db.system": "postgresql",
            "db.statement": "DELETE FROM t",
        },
    )
    return [*spans, write], "undeclared_effect", NOBODY


def from_a_file(spans: Sequence[Span], pick: Pick) -> Broken:
    """A call rests on what a file said."""
    tool = pick([span for span in spans if span.text(c.DECISION_CONTEXT_SOURCE)])
    return (
        with_attributes(spans, tool, {c.DECISION_CONTEXT_SOURCE: "file"}),
        "source_not_operator",
        tool.span_id,
    )


def bad_arguments(spans: Sequence[Span], pick: Pick) -> Broken:
    """A call's arguments did not fit."""
    tool = pick([span for span in spans if span.text(c.DECISION_RISK)])
    return (
        with_attributes(spans, tool, {c.TOOL_DISPOSITION: "invalid_arguments"}),
        "invalid_arguments",
        tool.span_id,
    )


def died(spans: Sequence[Span], pick: Pick) -> Broken:
    """The process died in a tool call."""
    tool = pick([span for span in spans if span.text(c.DECISION_RISK)])
    return with_attributes(spans, tool, {c.ABANDONED: True}), "abandoned", tool.span_id


FAULTS: tuple[Fault, ...] = (
    lost_traceparent,
    garbled_traceparent,
    worker_without_tracing,
    process_span_lost,
    send_span_lost,
    agent_span_lost,
    same_id_used_again,
    own_parent,
    second_root,
    second_trace,
    under_another_send,
    lineage_says_otherwise,
    not_approved,
    not_recorded,
    reader_writes,
    from_a_file,
    bad_arguments,
    died,
)
"""Each gives one finding."""
