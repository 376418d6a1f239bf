"""Breaks a clean run in one place, and says what must be found there: a finding or an invariant, and the span."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from handrail_harness.forest import build
from handrail_harness.spans import Span, SpanEvent
from handrail_propagation import conventions as c

Broken = tuple[list[Span], str, str]
"""The spans, the name of what must be found, and the id of the span where."""
Pick = Callable[[Sequence[Span]], Span]
Fault = Callable[[Sequence[Span], Pick], Broken]
"""Breaks one of the places where it can strike: `pick` chooses, at random or not."""

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
    """Return the spans of a kind."""
    return [span for span in spans if span.kind == kind]


def child_of(spans: Sequence[Span], parent: Span) -> Span:
    """Return the first span below another."""
    return next(span for span in spans if span.parent_span_id == parent.span_id)


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
    span = pick([span for span in spans if span.name.startswith("execute_tool")])
    broken = [replace(one, parent_span_id=one.span_id) if one is span else one for one in spans]
    return broken, "cycle", span.span_id


def second_root(spans: Sequence[Span], pick: Pick) -> Broken:
    """A span has lost its parent's id."""
    span = pick([span for span in spans if span.name.startswith("execute_tool")])
    broken = [replace(one, parent_span_id="") if one is span else one for one in spans]
    return broken, "extra_root", span.span_id


def second_trace(spans: Sequence[Span], pick: Pick) -> Broken:
    """A branch is in another trace, and no message explains it."""
    span = pick([span for span in spans if span.name.startswith("execute_tool")])
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
        _with(spans, process, {c.MESSAGE_PARENT_ID: "another-task"}),
        "lineage_disagreement",
        process.span_id,
    )


def not_approved(spans: Sequence[Span], pick: Pick) -> Broken:
    """A destructive call ran although its approval was denied."""
    tool = pick([span for span in spans if span.text(c.APPROVAL_ID)])
    return _with(spans, tool, {c.APPROVAL_OUTCOME: "denied"}), "unapproved_effect", tool.span_id


def not_recorded(spans: Sequence[Span], pick: Pick) -> Broken:
    """A call that changes something ran without a decision record."""
    tool = pick([span for span in spans if span.text(c.DECISION_ID)])
    return (
        _with(spans, tool, {c.DECISION_ID: None, c.DECISION_INTENT: None}),
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
    return _with(spans, tool, {c.DECISION_CONTEXT_SOURCE: "file"}), "source_not_operator", tool.span_id


def bad_arguments(spans: Sequence[Span], pick: Pick) -> Broken:
    """A call's arguments did not fit."""
    tool = pick([span for span in spans if span.text(c.DECISION_RISK)])
    return _with(spans, tool, {c.TOOL_DISPOSITION: "invalid_arguments"}), "invalid_arguments", tool.span_id


def died(spans: Sequence[Span], pick: Pick) -> Broken:
    """The process died in a tool call."""
    tool = pick([span for span in spans if span.text(c.DECISION_RISK)])
    return _with(spans, tool, {c.ABANDONED: True}), "abandoned", tool.span_id


def delivered_twice(spans: Sequence[Span], pick: Pick) -> Broken:
    """The broker hands out one message twice, and both receipts claim to be the same attempt."""
    process = pick(of_kind(spans, "consumer"))
    again = _later(process, NOBODY)
    return [*spans, again], "handoff_once", again.span_id


def ran_again(spans: Sequence[Span], pick: Pick) -> Broken:
    """An acknowledgement was lost: the message is processed again after it had succeeded."""
    process = pick(of_kind(spans, "consumer"))
    again = _later(process, NOBODY)
    attributes = {**again.attributes, c.MESSAGE_ATTEMPT: 2, c.MESSAGE_REDELIVERED: True}
    return [*spans, replace(again, attributes=attributes)], "handoff_once", again.span_id


def caught_by_a_send(spans: Sequence[Span], pick: Pick) -> Broken:
    """A send span was left current, and what came next hangs below it."""
    send = pick(of_kind(spans, "producer"))
    caught = replace(
        send,
        span_id=NOBODY,
        parent_span_id=send.span_id,
        name="some work",
        kind="internal",
        attributes={c.RUN_ID: send.text(c.RUN_ID)},
        links=(),
    )
    return [*spans, caught], "allowed_parent", NOBODY


def outlives_its_parent(spans: Sequence[Span], pick: Pick) -> Broken:
    """A tool call goes on after the agent that made it has ended."""
    tool = pick(_tools(spans))
    agent = next(span for span in spans if span.span_id == tool.parent_span_id)
    late = replace(tool, end_unix_nano=agent.end_unix_nano + 1_000_000_000)
    return _changed(spans, late), "inside_parent", tool.span_id


def before_its_parent(spans: Sequence[Span], pick: Pick) -> Broken:
    """A receipt begins before its message was sent: the worker's clock is behind."""
    process = pick(of_kind(spans, "consumer"))
    early = replace(process, start_unix_nano=process.start_unix_nano - 60_000_000_000)
    return _changed(spans, early), "inside_parent", process.span_id


def decided_afterwards(spans: Sequence[Span], pick: Pick) -> Broken:
    """The decision record of a call is from after the call."""
    tool = pick([span for span in spans if span.text(c.DECISION_ID)])
    late = SpanEvent(c.EVENT_DECISION, tool.end_unix_nano + 1, {c.DECISION_ID: tool.text(c.DECISION_ID)})
    return _changed(spans, replace(tool, events=(late,))), "decision_before_action", tool.span_id


def called_before_asked(spans: Sequence[Span], pick: Pick) -> Broken:
    """A call begins while the model that asked for it is still talking."""
    tool = pick([span for span in spans if span.text(c.DECISION_ID)])
    chat = next(span for span in spans if span.span_id == tool.links[0].span_id)
    slow = replace(chat, end_unix_nano=tool.start_unix_nano + 1)
    # Every other call that this answer asked for comes later than the chosen one, or is dropped with its link.
    kept = [replace(span, links=()) if span is not tool and _asked_by(span, chat) else span for span in spans]
    return _changed(kept, slow), "decision_before_action", tool.span_id


def arguments_on_the_span(spans: Sequence[Span], pick: Pick) -> Broken:
    """An instrumentation writes a tool's arguments into an attribute."""
    tool = pick(_tools(spans))
    return (
        _with(spans, tool, {c.GEN_AI_TOOL_CALL_ARGUMENTS: '{"path": "/etc/passwd"}'}),
        "no_content_in_attributes",
        tool.span_id,
    )


def exception_text_in_the_status(spans: Sequence[Span], pick: Pick) -> Broken:
    """A failed tool's status says what the exception said."""
    tool = pick(_tools(spans))
    failed = replace(
        tool,
        status_code="error",
        status_message="no such user: alice@example.com",
        attributes={**tool.attributes, c.ERROR_TYPE: "LookupError"},
    )
    return _changed(spans, failed), "no_content_in_attributes", tool.span_id


def sampled_by_itself(spans: Sequence[Span], pick: Pick) -> Broken:
    """A process decides about sampling by itself: below a sampled span it says "not sampled"."""
    tool = pick(_tools(spans))
    flagged = [replace(span, flags=0x100 if span is tool else 0x101) for span in spans]
    return flagged, "sampled_alike", tool.span_id


def other_threshold(spans: Sequence[Span], pick: Pick) -> Broken:
    """A process samples with another probability than the trace."""
    tool = pick(_tools(spans))
    return (
        [replace(span, trace_state=f"ot=th:{'c' if span is tool else '8'}") for span in spans],
        "sampled_alike",
        tool.span_id,
    )


def baggage_lost(spans: Sequence[Span], pick: Pick) -> Broken:
    """A span within a run does not know of the run."""
    tool = pick(_tools(spans))
    return _with(spans, tool, {c.RUN_ID: None}), "baggage_arrived", tool.span_id


def attribute_missing(spans: Sequence[Span], pick: Pick) -> Broken:
    """A send does not say which broker it talks to."""
    send = pick(of_kind(spans, "producer"))
    return _with(spans, send, {c.MESSAGING_SYSTEM: None}), "conventions", send.span_id


def named_otherwise(spans: Sequence[Span], pick: Pick) -> Broken:
    """A tool call's span has a name of its own."""
    tool = pick(_tools(spans))
    return _changed(spans, replace(tool, name=f"running {tool.name}")), "conventions", tool.span_id


def value_out_of_the_list(spans: Sequence[Span], pick: Pick) -> Broken:
    """A decision's source is none that the conventions know."""
    tool = pick([span for span in spans if span.text(c.DECISION_CONTEXT_SOURCE)])
    return _with(spans, tool, {c.DECISION_CONTEXT_SOURCE: "gut feeling"}), "conventions", tool.span_id


def status_ok(spans: Sequence[Span], pick: Pick) -> Broken:
    """A span's status is set to OK."""
    span = pick(spans)
    return _changed(spans, replace(span, status_code="ok")), "conventions", span.span_id


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

INVARIANT_FAULTS: tuple[Fault, ...] = (
    delivered_twice,
    ran_again,
    caught_by_a_send,
    outlives_its_parent,
    before_its_parent,
    decided_afterwards,
    called_before_asked,
    arguments_on_the_span,
    exception_text_in_the_status,
    sampled_by_itself,
    other_threshold,
    baggage_lost,
    attribute_missing,
    named_otherwise,
    value_out_of_the_list,
    status_ok,
)
"""Each breaks one invariant in one place and leaves one unified tree without a finding."""


def _tools(spans: Sequence[Span]) -> list[Span]:
    return [span for span in spans if span.name.startswith("execute_tool")]


def _asked_by(span: Span, chat: Span) -> bool:
    return any(link.span_id == chat.span_id for link in span.links)


def _later(span: Span, span_id: str) -> Span:
    took = span.end_unix_nano - span.start_unix_nano
    return replace(
        span, span_id=span_id, start_unix_nano=span.end_unix_nano, end_unix_nano=span.end_unix_nano + took
    )


def _changed(spans: Sequence[Span], one: Span) -> list[Span]:
    return [one if span.span_id == one.span_id else span for span in spans]


def _with(spans: Sequence[Span], which: Span, changes: dict[str, str | bool | None]) -> list[Span]:
    merged = {key: value for key, value in ({**which.attributes, **changes}).items() if value is not None}
    return [replace(span, attributes=merged) if span is which else span for span in spans]
