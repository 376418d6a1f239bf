"""The invariant of the decision contract: what changes something was decided, and recorded, before it began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from handrail_harness.forest import key_of
from handrail_harness.identities import Positions
from handrail_harness.printable import printable
from handrail_harness.rules.base import Place
from handrail_harness.rules.facts import Facts, positions_of
from handrail_harness.rules.screened import Screened
from handrail_harness.spans import Link, Span
from handrail_propagation import conventions as c


def _undecided_or_late(facts: Facts) -> Positions:
    columns = facts.columns
    acts: list[int] = []
    found: list[int] = []
    recorded = _recorded(facts)
    for layout in facts.layouts:
        look = layout.look
        if look.role != "tool" or look.told.get(c.TOOL_DISPOSITION) != "executed":
            continue
        if c.DECISION_RISK not in look.keys or look.told.get(c.DECISION_RISK) == "read":
            continue
        positions = layout.positions.tolist()
        acts += positions
        if not any(look.type_of(key) in ("string", "text") for key in (c.DECISION_ID, c.DECISION_INTENT)):
            found += positions
    if recorded:
        firsts = columns.first[acts].tolist()
        found += [at for at, first in zip(acts, firsts, strict=True) if first in recorded]
    is_act = np.zeros(len(columns.spans), np.bool_)
    is_act[acts] = True
    asking, chats = columns.links(c.LINK_CAUSED_BY_GENERATION, of=is_act)
    found += asking[columns.end[chats] > columns.start[asking]].tolist()
    return positions_of(found)


def _decided_before(facts: Facts, positions: Sequence[int]) -> Iterator[Place]:
    """A tool call above `read` that ran has a decision record, made before anything happened below it.

    A call whose risk nobody recorded is not judged: that is `conventions`' business, or another library's tool.
    """
    recorded = _recorded(facts)
    below_each = facts.below(positions)
    for position in positions:
        span = facts.spans[position]
        attributes = span.attributes
        risk = attributes.get(c.DECISION_RISK)
        if risk is None or risk == "read" or attributes.get(c.TOOL_DISPOSITION) != "executed":
            continue
        if span.look.role != "tool":
            continue
        at = recorded.get(int(facts.columns.first[position]))
        if at is None and not (attributes.get(c.DECISION_ID) or attributes.get(c.DECISION_INTENT)):
            yield Place(
                span, f"ran at risk {printable(risk, 40)} without a decision record", (span,), "healing"
            )
            continue
        below = next(iter(facts.columns.at(below_each[position][:1])), None)
        began = span.end_unix_nano if below is None else below.start_unix_nano
        if at is not None and at > began:
            late = f"its decision was recorded {(at - began) / 1e6:,.1f} ms after "
            yield Place(
                span,
                late + ("it had ended" if below is None else "its first action began"),
                (span,) if below is None else (span, below),
            )
        yield from _asked_before(facts, span)


decision_before_action: Final = Screened(_undecided_or_late, _decided_before)


def _asked_before(facts: Facts, span: Span) -> Iterator[Place]:
    """The model call that asked for it had answered."""
    for link in filter(_asks, span.links):
        (at,) = facts.columns.find([link.trace_id], [link.span_id]).tolist()
        if at >= 0:
            chat = facts.spans[at]
            if chat.end_unix_nano > span.start_unix_nano:
                yield Place(span, "began before the model call that asked for it had ended", (span, chat))


def _asks(link: Link) -> bool:
    return link.attributes.get(c.LINK_TYPE) == c.LINK_CAUSED_BY_GENERATION


def _recorded(facts: Facts) -> dict[int, int]:
    """When each decision was recorded, by the first of the spans that it belongs to: from events of either kind."""
    noted: dict[tuple[str, str], int] = {}

    def note(key: tuple[str, str], at: int, attributes: Mapping[str, object]) -> None:
        if attributes.get(c.DECISION_ID) or attributes.get(c.DECISION_INTENT):
            noted[key] = min(at, noted.get(key, at))

    for event in facts.events:
        if event.event_name == c.EVENT_DECISION:
            note((event.trace_id, event.span_id), event.time_unix_nano, event.attributes)
    for span in facts.columns.at(facts.unusual):
        if span.events and span.look.role == "tool":
            for on_span in span.events:
                if on_span.name == c.EVENT_DECISION:
                    note(key_of(span), on_span.time_unix_nano, on_span.attributes)
    found = facts.columns.find([trace_id for trace_id, _ in noted], [span_id for _, span_id in noted])
    return {at: time for at, time in zip(found.tolist(), noted.values(), strict=True) if at >= 0}
