"""Builds the spans of made-up runs, as a clean exporter writes them; faults then break them on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from handrail_harness.spans import Link, Span, SpanKind
from handrail_propagation import conventions as c

START: Final = 1_790_000_000_000_000_000
"""When every made-up run begins, in nanoseconds since the epoch."""
STEP: Final = 1_000_000
"""Nanoseconds from one thing that happens to the next."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message on its way: its send span, and what Celery's headers will say."""

    span: Span
    agent: str
    message_id: str
    parent_id: str
    path: tuple[str, ...]


class RunBuilder:
    """Grows one run: `with` blocks nest spans, every span takes a millisecond of the run's clock."""

    def __init__(self, run_id: str = "run-1", trace: int = 1) -> None:
        self.run_id = run_id
        self.trace_id = f"{trace:032x}"
        self.spans: list[Span] = []
        self._stack: list[int] = []
        self._messages: list[str] = []
        self._root_message = ""
        self._agents: list[str] = []
        self._clock = START

    def add(
        self,
        name: str,
        kind: SpanKind = "internal",
        attributes: dict[str, Any] | None = None,
        *,
        parent: Span | None = None,
        links: Sequence[Link] = (),
        **fields: Any,
    ) -> Span:
        """Add a leaf below the current span (or `parent`)."""
        with self.inside(name, kind, attributes, parent=parent, links=links, **fields) as span:
            return span

    @contextmanager
    def inside(
        self,
        name: str,
        kind: SpanKind = "internal",
        attributes: dict[str, Any] | None = None,
        *,
        parent: Span | None = None,
        links: Sequence[Link] = (),
        **fields: Any,
    ) -> Iterator[Span]:
        """Add a span; what is added inside the block hangs below it."""
        above = parent or (self.spans[self._stack[-1]] if self._stack else None)
        self._clock += STEP
        span = Span(
            trace_id=self.trace_id,
            span_id=f"{len(self.spans) + 1 + ((int(self.trace_id, 16) & 0xFFFF) << 32):016x}",
            parent_span_id=above.span_id if above is not None else "",
            name=name,
            kind=kind,
            start_unix_nano=self._clock,
            end_unix_nano=self._clock,
            attributes={c.RUN_ID: self.run_id} | (attributes or {}),
            links=tuple(links),
            **({"resource": {"service.name": "test"}, "scope_name": "handrail"} | fields),
        )
        at = len(self.spans)
        self.spans.append(span)
        self._stack.append(at)
        yield span
        self._stack.pop()
        self._clock += STEP
        self.spans[at] = replace(span, end_unix_nano=self._clock)

    @contextmanager
    def handoff(
        self, agent: str, reason: str = "", links: Sequence[Link] = (), **message: Any
    ) -> Iterator[dict[str, Span]]:
        """Delegate to an agent: invoke_agent CLIENT → send, and at once process → invoke_agent INTERNAL."""
        message_id = message.pop("message_id", None)
        sent = self.delegate(agent, reason, links, message_id=message_id)
        client = self.spans[-2]
        with self.received(sent, **message) as process, self.agent(agent) as work:
            yield {"client": client, "send": sent.span, "process": process, "agent": work}

    def delegate(
        self, agent: str, reason: str = "", links: Sequence[Link] = (), *, message_id: str | None = None
    ) -> Sent:
        """Send the message that starts an agent; `received` is where it arrives."""
        delegation: dict[str, Any] = {
            c.GEN_AI_OPERATION_NAME: c.OPERATION_INVOKE_AGENT,
            c.GEN_AI_PROVIDER_NAME: "handrail",
            c.GEN_AI_AGENT_NAME: agent,
            c.DELEGATION_DEPTH: len(self._agents),
            c.DELEGATION_PATH: [*self._agents, agent],
        }
        if reason:
            delegation[c.DELEGATION_REASON] = reason
        with self.inside(f"{c.OPERATION_INVOKE_AGENT} {agent}", "client", delegation, links=links):
            return self.send(agent, message_id)

    def send(self, agent: str, message_id: str | None = None) -> Sent:
        """Send a message to an agent's queue, with Celery's lineage for its receipt."""
        message_id = message_id or f"task-{len(self.spans) - 1}"
        self._root_message = self._root_message or message_id
        attributes = _messaging(c.OPERATION_SEND, agent, message_id)
        span = self.add(f"{c.OPERATION_SEND} {agent}", "producer", attributes)
        path = self._agents if self._agents[-1:] == [agent] else [*self._agents, agent]
        return Sent(span, agent, message_id, self._messages[-1] if self._messages else "", tuple(path))

    @contextmanager
    def received(self, sent: Sent, **attributes: Any) -> Iterator[Span]:
        """Receive a message: a `process` span under its send, linked to it."""
        own = _messaging(c.OPERATION_PROCESS, sent.agent, sent.message_id) | attributes
        if sent.parent_id:
            own.setdefault(c.MESSAGE_PARENT_ID, sent.parent_id)
        agents, self._agents = self._agents, list(sent.path[:-1])
        with self.receipt(sent.agent, own, parent=sent.span) as span:
            yield span
        self._agents = agents

    @contextmanager
    def receipt(self, agent: str, attributes: dict[str, Any], parent: Span | None = None) -> Iterator[Span]:
        """Receive a message of these attributes below the current span (or `parent`)."""
        message_id = str(attributes[c.MESSAGING_MESSAGE_ID])
        self._root_message = self._root_message or message_id
        own: dict[str, Any] = {
            **_messaging(c.OPERATION_PROCESS, agent, message_id),
            c.MESSAGING_CLIENT_ID: f"{agent}@test",
            c.MESSAGE_ATTEMPT: 1,
            c.MESSAGE_REDELIVERED: False,
            c.MESSAGE_ROOT_ID: self._root_message,
        }
        if self._messages:
            own[c.MESSAGE_PARENT_ID] = self._messages[-1]
        links = [] if parent is None else [_link(parent, c.LINK_CREATION_CONTEXT)]
        self._messages.append(message_id)
        with self.inside(
            f"{c.OPERATION_PROCESS} {agent}", "consumer", own | attributes, parent=parent, links=links
        ) as span:
            yield span
        self._messages.pop()

    @contextmanager
    def agent(self, name: str, **attributes: Any) -> Iterator[Span]:
        """An agent at work."""
        with self._segment(name, 1, attributes, parent=None, links=()) as span:
            yield span

    @contextmanager
    def woken(self, name: str, segment: int, first: Span, previous: Span, process: Span) -> Iterator[Span]:
        """A later segment of an agent: below its first one, linked to the one before and to what woke it."""
        links = (_link(previous, c.LINK_PREVIOUS_SEGMENT), _link(process, c.LINK_WOKEN_BY))
        with self._segment(name, segment, {}, parent=first, links=links) as span:
            yield span

    @contextmanager
    def _segment(
        self,
        name: str,
        segment: int,
        attributes: dict[str, Any],
        *,
        parent: Span | None,
        links: Sequence[Link],
    ) -> Iterator[Span]:
        own: dict[str, Any] = {
            c.GEN_AI_OPERATION_NAME: c.OPERATION_INVOKE_AGENT,
            c.GEN_AI_AGENT_NAME: name,
            c.RUN_SEGMENT: segment,
            c.DELEGATION_DEPTH: len(self._agents),
            c.DELEGATION_PATH: [*self._agents, name],
        }
        self._agents.append(name)
        with self.inside(
            f"{c.OPERATION_INVOKE_AGENT} {name}", "internal", own | attributes, parent=parent, links=links
        ) as span:
            yield span
        self._agents.pop()

    def chat(self, model: str = "scripted") -> Span:
        """Call a model."""
        attributes = {
            c.GEN_AI_OPERATION_NAME: c.OPERATION_CHAT,
            c.GEN_AI_PROVIDER_NAME: "handrail",
            c.GEN_AI_REQUEST_MODEL: model,
        }
        return self.add(f"{c.OPERATION_CHAT} {model}", "internal", attributes)

    @contextmanager
    def tool(
        self, name: str, risk: str = "read", *, asked_by: Span | None = None, **attributes: Any
    ) -> Iterator[Span]:
        """Call a tool that runs; above `read` with the operator's decision, and an approval where needed.

        Keyword arguments are attributes with `.` written as `__`; `None` leaves one out.
        """
        own: dict[str, Any] = {
            c.GEN_AI_OPERATION_NAME: c.OPERATION_EXECUTE_TOOL,
            c.GEN_AI_TOOL_NAME: name,
            c.GEN_AI_TOOL_TYPE: "function",
            c.GEN_AI_AGENT_NAME: self._agents[-1] if self._agents else "nobody",
            c.DECISION_RISK: risk,
            c.TOOL_DISPOSITION: "executed",
            c.TOOL_RESULT_STATUS: "ok",
            c.TOOL_ARGS_DIGEST: "ab" * 32,
        }
        if risk != "read":
            own |= {
                c.DECISION_ID: f"d-{len(self.spans)}",
                c.DECISION_INTENT: f"use {name}",
                c.DECISION_REASONING: "the operator asked for it",
                c.DECISION_CONTEXT_SOURCE: "operator",
                c.DECISION_REVERSIBLE: False,
            }
        if risk in ("destructive", "access_change"):
            own |= {c.APPROVAL_ID: "a-1", c.APPROVAL_OUTCOME: "approved"}
        own |= {key.replace("__", "."): value for key, value in attributes.items()}
        links = [] if asked_by is None else [caused_by(asked_by)]
        kept = {key: value for key, value in own.items() if value is not None}
        with self.inside(f"{c.OPERATION_EXECUTE_TOOL} {name}", "internal", kept, links=links) as span:
            yield span

    def call(self, name: str, risk: str = "read", *, asked_by: Span | None = None, **attributes: Any) -> Span:
        """Call a tool below which nothing is traced."""
        with self.tool(name, risk, asked_by=asked_by, **attributes) as span:
            return span

    def final(self, span: Span) -> Span:
        """Return the span as it ended: what `inside` yields is only its beginning."""
        return next(one for one in self.spans if one.span_id == span.span_id)


def caused_by(chat: Span) -> Link:
    """The link from a tool call to the model call that asked for it."""
    return _link(chat, c.LINK_CAUSED_BY_GENERATION)


def _link(to: Span, kind: str) -> Link:
    return Link(to.trace_id, to.span_id, {c.LINK_TYPE: kind})


def _messaging(operation: str, queue: str, message_id: str) -> dict[str, Any]:
    return {
        c.MESSAGING_SYSTEM: "redis",
        c.MESSAGING_OPERATION_NAME: operation,
        c.MESSAGING_OPERATION_TYPE: operation,
        c.MESSAGING_DESTINATION_NAME: queue,
        c.MESSAGING_MESSAGE_ID: message_id,
    }
