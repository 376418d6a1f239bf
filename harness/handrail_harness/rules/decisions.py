"""The invariant of the decision contract: what changes something was decided, and recorded, before it began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from handrail_harness.forest import Key, key_of
from handrail_harness.printable import printable
from handrail_harness.rules.base import Place
from handrail_harness.rules.facts import Facts
from handrail_harness.spans import Span
from handrail_propagation import conventions as c


def decision_before_action(facts: Facts) -> Iterator[Place]:
    """A tool call above `read` that ran has a decision record, made before anything happened below it.

    A call whose risk nobody recorded is not judged: that is `conventions`' business, or another library's tool.
    """
    recorded: dict[Key, int] | None = None
    for span in facts.by_role["tool"]:
        attributes = span.attributes
        risk = attributes.get(c.DECISION_RISK)
        if risk is None or risk == "read" or attributes.get(c.TOOL_DISPOSITION) != "executed":
            continue
        if recorded is None:
            recorded = _recorded(facts)
        at = recorded.get(key_of(span))
        if at is None and not (attributes.get(c.DECISION_ID) or attributes.get(c.DECISION_INTENT)):
            yield Place(
                span, f"ran at risk {printable(risk, 40)} without a decision record", (span,), "healing"
            )
            continue
        below = next(iter(facts.forest.children_of(span)), None)
        began = span.end_unix_nano if below is None else below.start_unix_nano
        if at is not None and at > began:
            late = f"its decision was recorded {(at - began) / 1e6:,.1f} ms after "
            yield Place(
                span,
                late + ("it had ended" if below is None else "its first action began"),
                (span,) if below is None else (span, below),
            )
        yield from _asked_before(facts, span)


def _asked_before(facts: Facts, span: Span) -> Iterator[Place]:
    """The model call that asked for it had answered."""
    for link in span.links:
        if link.attributes.get(c.LINK_TYPE) != c.LINK_CAUSED_BY_GENERATION:
            continue
        chat = facts.forest.by_key.get((link.trace_id, link.span_id))
        if chat is not None and chat.end_unix_nano > span.start_unix_nano:
            yield Place(span, "began before the model call that asked for it had ended", (span, chat))


def _recorded(facts: Facts) -> dict[Key, int]:
    """When each decision was recorded, by the span that it belongs to: from events of either kind."""
    found: dict[Key, int] = {}

    def note(key: Key, at: int, attributes: Mapping[str, object]) -> None:
        if attributes.get(c.DECISION_ID) or attributes.get(c.DECISION_INTENT):
            found[key] = min(at, found.get(key, at))

    for event in facts.events:
        if event.event_name == c.EVENT_DECISION:
            note((event.trace_id, event.span_id), event.time_unix_nano, event.attributes)
    for span in facts.by_role["tool"]:
        for on_span in span.events:
            if on_span.name == c.EVENT_DECISION:
                note(key_of(span), on_span.time_unix_nano, on_span.attributes)
    return found
