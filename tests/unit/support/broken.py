"""Runs broken in many ways at once: what no exporter should write, and somebody's does."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, get_args

from hypothesis import strategies as st

from handrail_harness.spans import Link, LogEvent, Span, SpanEvent, SpanKind
from handrail_harness.strategies import FAULTS, INVARIANT_FAULTS, run_of, topologies
from handrail_propagation import conventions as c

Edit = Callable[[random.Random, list[Span], int, Span], None]
"""Changes the span at a position of the list, in the light of another one of the run."""

_LATEST: Final = 2**64 - 1  # OTLP's times are unsigned
_PARENTS: Final = ("", "0", "0" * 16, "f" * 16, "F" * 16, "gone")
_LINKS: Final = (
    None,
    c.LINK_WOKEN_BY,
    c.LINK_PREVIOUS_SEGMENT,
    c.LINK_PREDECESSOR,
    c.LINK_CAUSED_BY_GENERATION,
    c.LINK_CREATION_CONTEXT,
    c.LINK_CLAIMED,
)
_KEYS: Final = (
    c.RUN_ID,
    c.MESSAGING_MESSAGE_ID,
    c.MESSAGE_PARENT_ID,
    c.MESSAGE_ROOT_ID,
    c.MESSAGE_ATTEMPT,
    c.GEN_AI_OPERATION_NAME,
    c.GEN_AI_AGENT_NAME,
    c.GEN_AI_TOOL_NAME,
    c.MESSAGING_OPERATION_NAME,
    c.MESSAGING_DESTINATION_NAME,
    c.DECISION_RISK,
    c.DECISION_ID,
    c.DECISION_INTENT,
    c.TOOL_DISPOSITION,
    c.TOOL_TOUCHES,
    c.DELEGATION_PATH,
    c.APPROVAL_ID,
    c.ABANDONED,
    c.ERROR_TYPE,
    c.GEN_AI_INPUT_MESSAGES,
)
_VALUES: Final[tuple[Any, ...]] = (
    *("", "x", "run-1", "task-1", "task-2", "read", "write", "executed", "ack", "invoke_agent", "y" * 600),
    *(None, True, 1, 1.0, float("nan"), -1, b"z", ["a"], ["a", 1], {"k": "v"}),
)


def broken_runs() -> st.SearchStrategy[tuple[list[Span], list[LogEvent]]]:
    """Return a strategy of runs: half of them with a fault, up to a dozen changes more, events of decisions."""
    edits = st.sampled_from((0, 1, 1, 2, 3, 6, 12))
    return st.builds(_broken, topologies(), edits, st.integers(0, 2**32))


def _broken(topology: Any, edits: int, seed: int) -> tuple[list[Span], list[LogEvent]]:
    chance = random.Random(seed)
    spans = list(run_of(topology).spans)
    if chance.random() < 0.5:
        spans = list(chance.choice((*FAULTS, *INVARIANT_FAULTS))(spans, chance.choice)[0])
    for _ in range(edits):
        at = chance.randrange(len(spans))
        chance.choice(_EDITS)(chance, spans, at, chance.choice(spans))
    chance.shuffle(spans)
    events = [
        LogEvent(
            span.trace_id,
            span.span_id,
            c.EVENT_DECISION,
            chance.choice((span.start_unix_nano, span.end_unix_nano + 1)),
            {c.DECISION_ID: "d"},
        )
        for span in spans
        if chance.random() < 0.1
    ]
    return spans, events


def _field(name: str, *values: Any) -> Edit:
    def edit(chance: random.Random, spans: list[Span], at: int, other: Span) -> None:
        spans[at] = replace(spans[at], **{name: chance.choice((*values, getattr(other, name)))})

    return edit


def _hang_elsewhere(chance: random.Random, spans: list[Span], at: int, other: Span) -> None:
    spans[at] = replace(spans[at], parent_span_id=other.span_id)


def _lose(chance: random.Random, spans: list[Span], at: int, other: Span) -> None:
    if len(spans) > 1:
        del spans[at]


def _send_again(chance: random.Random, spans: list[Span], at: int, other: Span) -> None:
    changed = chance.choice(({}, {"name": "other"}, {"start_unix_nano": 5, "parent_span_id": other.span_id}))
    spans.append(replace(spans[at], **changed))


def _set_attribute(chance: random.Random, spans: list[Span], at: int, other: Span) -> None:
    own = spans[at].attributes
    key = chance.choice([*own, *_KEYS, c.ERROR_TYPE])
    value = chance.choice((*_VALUES, *other.attributes.values()))
    spans[at] = replace(spans[at], attributes={**own, key: value})


def _lie_about_lineage(chance: random.Random, spans: list[Span], at: int, other: Span) -> None:
    receipts = [place for place, span in enumerate(spans) if span.kind == "consumer"]
    if receipts:
        at = chance.choice(receipts)
        messages = [span.text(c.MESSAGING_MESSAGE_ID) for span in spans]
        key = chance.choice(
            (c.MESSAGING_MESSAGE_ID, c.MESSAGE_PARENT_ID, c.MESSAGE_ROOT_ID, c.MESSAGE_ROOT_ID)
        )
        value = chance.choice((*messages, "", "another"))
        spans[at] = replace(spans[at], attributes={**spans[at].attributes, key: value})


def _take_attribute(chance: random.Random, spans: list[Span], at: int, other: Span) -> None:
    attributes = dict(spans[at].attributes)
    attributes.pop(chance.choice([*attributes, ""]), None)
    spans[at] = replace(spans[at], attributes=attributes)


def _link(chance: random.Random, spans: list[Span], at: int, other: Span) -> None:
    kind = chance.choice(_LINKS)
    span_id = chance.choice((other.span_id, other.span_id, "none", ""))
    link = Link(other.trace_id, span_id, {} if kind is None else {c.LINK_TYPE: kind})
    spans[at] = replace(spans[at], links=(*spans[at].links, link))


def _add_event(chance: random.Random, spans: list[Span], at: int, other: Span) -> None:
    event = SpanEvent(
        chance.choice(("exception", c.EVENT_DECISION)),
        chance.choice((spans[at].start_unix_nano, spans[at].end_unix_nano + 1)),
        chance.choice(({}, {"exception.message": "text"}, {c.DECISION_ID: "d"})),
    )
    spans[at] = replace(spans[at], events=(event,))


_EDITS: Final[tuple[Edit, ...]] = (
    *(_hang_elsewhere, _lose, _send_again, _take_attribute, _link, _link, _add_event),
    *(_set_attribute,) * 5,
    *(_lie_about_lineage,) * 3,
    _field("parent_span_id", *_PARENTS),
    _field("span_id", "", "zz", "0" * 16),
    _field("trace_id", "a" * 32, "b" * 32),
    _field("kind", *get_args(SpanKind)),
    _field("start_unix_nano", 0, 2**63, _LATEST),
    _field("end_unix_nano", 0, 2**63, _LATEST),
    _field("status_code", "ok", "error"),
    _field("status_message", "ValueError", "some text"),
    _field("flags", 0x100, 0x101, 3),
    _field("trace_state", "ot=th:8", "ot=th:c", "a=b"),
    _field("resource", {}, {"service.name": "another"}),
    _field("name", "await_approval x", "chat", "process scout", "x y"),
    _field("scope_name", "", "other"),
)
