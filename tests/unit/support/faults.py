"""Breaks a clean run in one place, and says what must be found there: (finding, span id)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from handrail_harness.forest import build
from handrail_harness.spans import Span
from handrail_propagation import conventions as c

Broken = tuple[list[Span], str, str]
Fault = Callable[[Sequence[Span], Callable[[Sequence[Span]], Span]], Broken]

OTHER_TRACE = f"{0xBEEF:032x}"
NOBODY = "00000000deadbeef"


def below(spans: Sequence[Span], top: Span) -> set[str]:
    """Return the ids of a span and everything below it."""
    forest = build(spans)
    found, todo = set(), [top]
    while todo:
        span = todo.pop()
        found.add(span.span_id)
        todo.extend(forest.children_of(span))
    return found


def of_kind(spans: Sequence[Span], kind: str) -> list[Span]:
    return [span for span in spans if span.kind == kind]


def child_of(spans: Sequence[Span], parent: Span) -> Span:
    return next(span for span in spans if span.parent_span_id == parent.span_id)


def lost_traceparent(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    send = pick(of_kind(spans, "producer"))
    process = child_of(spans, send)
    torn = below(spans, process)
    moved = [replace(span, trace_id=OTHER_TRACE) if span.span_id in torn else span for span in spans]
    broken = [replace(span, parent_span_id="") if span.span_id == process.span_id else span for span in moved]
    return broken, "broken_handoff", send.span_id


def garbled_traceparent(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    send = pick(of_kind(spans, "producer"))
    process = child_of(spans, send)
    broken = [
        replace(span, parent_span_id=NOBODY) if span.span_id == process.span_id else span for span in spans
    ]
    return broken, "broken_handoff", send.span_id


def worker_without_tracing(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    send = pick(of_kind(spans, "producer"))
    gone = below(spans, child_of(spans, send))
    return [span for span in spans if span.span_id not in gone], "handoff_without_consumer", send.span_id


def process_span_lost(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    process = pick(of_kind(spans, "consumer"))
    return [span for span in spans if span is not process], "handoff_without_consumer", process.parent_span_id


def send_span_lost(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    send = pick(of_kind(spans, "producer"))
    process = child_of(spans, send)
    return [span for span in spans if span is not send], "consumer_without_handoff", process.span_id


def agent_span_lost(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    agent = pick([span for span in spans if span.name.startswith("invoke_agent") and span.kind == "internal"])
    children = [span for span in spans if span.parent_span_id == agent.span_id]
    first = min(children, key=lambda span: (span.start_unix_nano, span.span_id))
    return [span for span in spans if span is not agent], "orphan", first.span_id


def same_id_used_again(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    span = pick([span for span in spans if span.kind == "internal"])
    return [*spans, replace(span, name="something else")], "duplicate_span", span.span_id


def own_parent(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    span = pick([span for span in spans if span.name.startswith("execute_tool")])
    broken = [replace(one, parent_span_id=one.span_id) if one is span else one for one in spans]
    return broken, "cycle", span.span_id


def second_root(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    span = pick([span for span in spans if span.name.startswith("execute_tool")])
    broken = [replace(one, parent_span_id="") if one is span else one for one in spans]
    return broken, "extra_root", span.span_id


def second_trace(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    span = pick([span for span in spans if span.name.startswith("execute_tool")])
    torn = below(spans, span)
    moved = [replace(one, trace_id=OTHER_TRACE) if one.span_id in torn else one for one in spans]
    broken = [replace(one, parent_span_id="") if one.span_id == span.span_id else one for one in moved]
    return broken, "extra_trace", span.span_id


def under_another_send(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    # Not the first receipt: every other send is below it.
    process = pick(sorted(of_kind(spans, "consumer"), key=lambda span: span.start_unix_nano)[1:])
    forbidden = below(spans, process) | {process.parent_span_id}
    other = pick([send for send in of_kind(spans, "producer") if send.span_id not in forbidden])
    broken = [replace(one, parent_span_id=other.span_id) if one is process else one for one in spans]
    return broken, "lineage_disagreement", process.span_id


def lineage_says_otherwise(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    process = pick([span for span in of_kind(spans, "consumer") if span.text(c.MESSAGE_PARENT_ID)])
    return (
        _with(spans, process, {c.MESSAGE_PARENT_ID: "another-task"}),
        "lineage_disagreement",
        process.span_id,
    )


def not_approved(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    tool = pick([span for span in spans if span.text(c.APPROVAL_ID)])
    return _with(spans, tool, {c.APPROVAL_OUTCOME: "denied"}), "unapproved_effect", tool.span_id


def not_recorded(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    tool = pick([span for span in spans if span.text(c.DECISION_ID)])
    return (
        _with(spans, tool, {c.DECISION_ID: None, c.DECISION_INTENT: None}),
        "undeclared_effect",
        tool.span_id,
    )


def reader_writes(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
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


def from_a_file(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    tool = pick([span for span in spans if span.text(c.DECISION_CONTEXT_SOURCE)])
    return _with(spans, tool, {c.DECISION_CONTEXT_SOURCE: "file"}), "source_not_operator", tool.span_id


def bad_arguments(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    tool = pick([span for span in spans if span.text(c.DECISION_RISK)])
    return _with(spans, tool, {c.TOOL_DISPOSITION: "invalid_arguments"}), "invalid_arguments", tool.span_id


def died(spans: Sequence[Span], pick: Callable[[Sequence[Span]], Span]) -> Broken:
    tool = pick([span for span in spans if span.text(c.DECISION_RISK)])
    return _with(spans, tool, {c.ABANDONED: True}), "abandoned", tool.span_id


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


def _with(spans: Sequence[Span], which: Span, changes: dict[str, str | bool | None]) -> list[Span]:
    merged = {key: value for key, value in ({**which.attributes, **changes}).items() if value is not None}
    return [replace(span, attributes=merged) if span is which else span for span in spans]
