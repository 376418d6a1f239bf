"""Faults that leave one unified tree: each breaks an invariant in one place, and says which, and at which span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from handrail_harness.spans import Span, SpanEvent
from handrail_harness.strategies.edits import (
    NOBODY,
    Broken,
    Fault,
    Pick,
    changed,
    of_kind,
    tools,
    with_attributes,
)
from handrail_propagation import conventions as c


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
    tool = pick(tools(spans))
    agent = next(span for span in spans if span.span_id == tool.parent_span_id)
    late = replace(tool, end_unix_nano=agent.end_unix_nano + 1_000_000_000)
    return changed(spans, late), "inside_parent", tool.span_id


def before_its_parent(spans: Sequence[Span], pick: Pick) -> Broken:
    """A receipt begins before its message was sent: the worker's clock is behind."""
    process = pick(of_kind(spans, "consumer"))
    early = replace(process, start_unix_nano=process.start_unix_nano - 60_000_000_000)
    return changed(spans, early), "inside_parent", process.span_id


def decided_afterwards(spans: Sequence[Span], pick: Pick) -> Broken:
    """The decision record of a call is from after the call."""
    tool = pick([span for span in spans if span.text(c.DECISION_ID)])
    late = SpanEvent(c.EVENT_DECISION, tool.end_unix_nano + 1, {c.DECISION_ID: tool.text(c.DECISION_ID)})
    return changed(spans, replace(tool, events=(late,))), "decision_before_action", tool.span_id


def called_before_asked(spans: Sequence[Span], pick: Pick) -> Broken:
    """A call begins while the model that asked for it is still talking."""
    tool = pick([span for span in spans if span.text(c.DECISION_ID)])
    chat = next(span for span in spans if span.span_id == tool.links[0].span_id)
    slow = replace(chat, end_unix_nano=tool.start_unix_nano + 1)
    # Every other call that this answer asked for comes later than the chosen one, or is dropped with its link.
    kept = [replace(span, links=()) if span is not tool and _asked_by(span, chat) else span for span in spans]
    return changed(kept, slow), "decision_before_action", tool.span_id


def arguments_on_the_span(spans: Sequence[Span], pick: Pick) -> Broken:
    """An instrumentation writes a tool's arguments into an attribute."""
    tool = pick(tools(spans))
    return (
        with_attributes(spans, tool, {c.GEN_AI_TOOL_CALL_ARGUMENTS: '{"path": "/etc/passwd"}'}),
        "no_content_in_attributes",
        tool.span_id,
    )


def exception_text_in_the_status(spans: Sequence[Span], pick: Pick) -> Broken:
    """A failed tool's status says what the exception said."""
    tool = pick(tools(spans))
    failed = replace(
        tool,
        status_code="error",
        status_message="no such user: alice@example.com",
        attributes={**tool.attributes, c.ERROR_TYPE: "LookupError"},
    )
    return changed(spans, failed), "no_content_in_attributes", tool.span_id


def sampled_by_itself(spans: Sequence[Span], pick: Pick) -> Broken:
    """A process decides about sampling by itself: below a sampled span it says "not sampled"."""
    tool = pick(tools(spans))
    flagged = [replace(span, flags=0x100 if span is tool else 0x101) for span in spans]
    return flagged, "sampled_alike", tool.span_id


def other_threshold(spans: Sequence[Span], pick: Pick) -> Broken:
    """A process samples with another probability than the trace."""
    tool = pick(tools(spans))
    return (
        [replace(span, trace_state=f"ot=th:{'c' if span is tool else '8'}") for span in spans],
        "sampled_alike",
        tool.span_id,
    )


def baggage_lost(spans: Sequence[Span], pick: Pick) -> Broken:
    """A span within a run does not know of the run."""
    tool = pick(tools(spans))
    return with_attributes(spans, tool, {c.RUN_ID: None}), "baggage_arrived", tool.span_id


def attribute_missing(spans: Sequence[Span], pick: Pick) -> Broken:
    """A send does not say which broker it talks to."""
    send = pick(of_kind(spans, "producer"))
    return with_attributes(spans, send, {c.MESSAGING_SYSTEM: None}), "conventions", send.span_id


def named_otherwise(spans: Sequence[Span], pick: Pick) -> Broken:
    """A tool call's span has a name of its own."""
    tool = pick(tools(spans))
    return changed(spans, replace(tool, name=f"running {tool.name}")), "conventions", tool.span_id


def value_out_of_the_list(spans: Sequence[Span], pick: Pick) -> Broken:
    """A decision's source is none that the conventions know."""
    tool = pick([span for span in spans if span.text(c.DECISION_CONTEXT_SOURCE)])
    return (
        with_attributes(spans, tool, {c.DECISION_CONTEXT_SOURCE: "gut feeling"}),
        "conventions",
        tool.span_id,
    )


def status_ok(spans: Sequence[Span], pick: Pick) -> Broken:
    """A span's status is set to OK."""
    span = pick(spans)
    return changed(spans, replace(span, status_code="ok")), "conventions", span.span_id


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


def _asked_by(span: Span, chat: Span) -> bool:
    return any(link.span_id == chat.span_id for link in span.links)


def _later(span: Span, span_id: str) -> Span:
    took = span.end_unix_nano - span.start_unix_nano
    return replace(
        span, span_id=span_id, start_unix_nano=span.end_unix_nano, end_unix_nano=span.end_unix_nano + took
    )
