"""Where every span of a run stands: under which agent, tool, model call, and by which delegation.

Reads across a broken hand-off where evidence joins the two ends (`rules.handoffs`), so that the reasons
above a torn branch are not lost; the verdict on the tree is the report's, and it stays broken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from handrail_harness.forest import Forest, Key, key_of
from handrail_harness.rules.report import Report
from handrail_harness.spans import Attributes, AttributeValue, LogEvent, Span
from handrail_propagation.conventions import (
    DELEGATION_PATH,
    EVENT_DECISION,
    GEN_AI_AGENT_NAME,
    GEN_AI_OPERATION_NAME,
    LINK_TYPE,
    LINK_WOKEN_BY,
    OPERATION_EXECUTE_TOOL,
    OPERATION_INVOKE_AGENT,
    RUN_SEGMENT,
)

_MODEL_OPERATIONS = frozenset(
    {"chat", "text_completion", "generate_content", "embeddings", "retrieval"}
    | {"search_memory", "upsert_memory", "update_memory", "delete_memory", "create_memory"}
)
"""Operations whose own HTTP and database spans are the model's or the index's business, not the agent's
effects.
"""
_PATH_ENDS = 25
"""A path longer than twice this shows its two ends: no real delegation is that deep."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AgentRun:
    """One agent at work: its first `invoke_agent` span, who delegated to it, and by which span."""

    name: str
    span: Span
    caller: AgentRun | None
    delegation: Span | None
    outermost: tuple[AgentRun, ...] = ()

    def lineage(self) -> list[AgentRun]:
        """Return the agents from the outermost to this one (the middle left out where they are over 50)."""
        inner: list[AgentRun] = []
        one: AgentRun | None = self
        while one is not None and len(inner) < _PATH_ENDS:
            inner.append(one)
            one = one.caller
        # The agents further out than those were remembered on the way down, so that no climb is long.
        outer = self.outermost if one is not None else ()
        seen = {id(agent) for agent in inner}
        return [*(agent for agent in outer if id(agent) not in seen), *reversed(inner)]

    def path(self) -> list[str]:
        """Return the names from the outermost agent to this one; as the agent itself recorded them where
        it did.
        """
        recorded = self.span.attributes.get(DELEGATION_PATH)
        if isinstance(recorded, list) and recorded and all(isinstance(name, str) for name in recorded):
            names = [name for name in recorded if isinstance(name, str)]
            return names if names[-1] == self.name else [*names, self.name]
        return [one.name for one in self.lineage()]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """What encloses a span, itself included where it is the agent or the tool."""

    agent: AgentRun | None = None
    tool: Span | None = None
    in_model_call: bool = False
    delegation: Span | None = None


class RunView:
    """The spans of a run in order, each with its `Place`; attributes of decisions wherever they were
    recorded.
    """

    def __init__(self, report: Report, events: tuple[LogEvent, ...] = ()) -> None:
        self.report = report
        self._sends = {
            key_of(consumer): handoff.send
            for handoff in report.handoffs.broken
            for consumer in handoff.consumers
        }
        self._decisions: dict[Key, Attributes] = {
            (event.trace_id, event.span_id): event.attributes
            for event in events
            if event.event_name == EVENT_DECISION
        }
        self._woken: dict[Key, str] = {
            (link.trace_id, link.span_id): span.text(GEN_AI_AGENT_NAME)
            for span in report.forest.spans
            for link in span.links
            if link.attributes.get(LINK_TYPE) == LINK_WOKEN_BY
        }
        self._places: dict[int, Place] = {}
        for span, parent in self._joined_walk():
            self._places[id(span)] = _place(span, self._places[id(parent)] if parent is not None else Place())

    @property
    def forest(self) -> Forest:
        """The forest, as exported."""
        return self.report.forest

    def place(self, span: Span) -> Place:
        """Return what encloses the span."""
        return self._places.get(id(span), Place())

    def spans(self) -> list[Span]:
        """Return every span once (identical copies left out), earliest first."""
        found = [span for span in self.forest.spans if id(span) in self._places]
        return sorted(found, key=lambda span: (span.start_unix_nano, span.trace_id, span.span_id))

    def woken_by(self, consumer: Span) -> str:
        """Return the agent that went on when this message was received, `""` for a message that woke none."""
        return self._woken.get(key_of(consumer), "")

    def decision(self, span: Span, key: str) -> AttributeValue:
        """Return an attribute of the span, or of the decision event in its context, or `None`."""
        if key in span.attributes:
            return span.attributes[key]
        for event in span.events:
            if event.name == EVENT_DECISION and key in event.attributes:
                return event.attributes[key]
        return self._decisions.get(key_of(span), {}).get(key)

    def decision_text(self, span: Span, key: str) -> str | None:
        """Return such an attribute where it is a text with something in it, else `None`."""
        value = self.decision(span, key)
        return value if isinstance(value, str) and value else None

    def path(self, span: Span) -> list[Span]:
        """Return the spans from the root down to this one; across a broken hand-off, from its send to its
        receipt.
        """
        chain = [span]
        seen = {key_of(span)}
        above = self._above(span)
        while above is not None and key_of(above) not in seen:
            seen.add(key_of(above))
            chain.append(above)
            above = self._above(above)
        return chain[::-1]

    def _above(self, span: Span) -> Span | None:
        return self._sends.get(key_of(span)) or self.forest.parent_of(span)

    def _joined_walk(self) -> Iterator[tuple[Span, Span | None]]:
        """Walk the forest, joined branches below their sends; parents before children, each span once."""
        received: dict[Key, list[Span]] = {}
        for handoff in self.report.handoffs.broken:
            received.setdefault(key_of(handoff.send), []).extend(handoff.consumers)
        tops = self.forest.tops()
        seen: set[int] = set()
        expanded: set[Key] = set()
        # Joined branches last: one that hangs in a circle of joins still has to be walked.
        for top in sorted(tops, key=lambda span: key_of(span) in self._sends):
            stack: list[tuple[Span, Span | None]] = [(top, None)]
            while stack:
                span, parent = stack.pop()
                if id(span) in seen:
                    continue
                seen.add(id(span))
                yield span, parent
                key = key_of(span)
                if key not in expanded:
                    expanded.add(key)
                    below = (*self.forest.children_of(span), *received.get(key, ()))
                    stack.extend((child, span) for child in reversed(below))


def is_operation(span: Span, operation: str) -> bool:
    """Return whether the span is of this GenAI operation."""
    return span.text(GEN_AI_OPERATION_NAME) == operation


def _place(span: Span, above: Place) -> Place:
    if is_operation(span, OPERATION_INVOKE_AGENT):
        if span.kind == "client":
            return replace(above, delegation=span, in_model_call=False)
        return _agent_place(span, above)
    if is_operation(span, OPERATION_EXECUTE_TOOL):
        return replace(above, tool=span, in_model_call=False)
    if span.text(GEN_AI_OPERATION_NAME) in _MODEL_OPERATIONS:
        return replace(above, in_model_call=True)
    return above


def _agent_place(span: Span, above: Place) -> Place:
    name = span.text(GEN_AI_AGENT_NAME) or span.name
    segment = span.attributes.get(RUN_SEGMENT)
    if isinstance(segment, int) and segment > 1:
        # A later segment is the same agent at work again, wherever its span hangs.
        same = above.agent
        while same is not None and same.name != name:
            same = same.caller
        if same is not None:
            return Place(agent=same)
    caller = above.agent
    outermost = caller.outermost if caller is not None else ()
    if caller is not None and len(outermost) < _PATH_ENDS:
        outermost = (*outermost, caller)
    return Place(agent=AgentRun(name, span, caller, above.delegation, outermost))
