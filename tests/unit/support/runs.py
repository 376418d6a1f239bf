"""Builds the spans of made-up runs, as a clean exporter writes them; tests then break them on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from handrail_harness.spans import Link, LogEvent, Span, SpanKind, TraceSummary
from handrail_propagation import conventions as c

T0 = 1_790_000_000_000_000_000
MS = 1_000_000


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
        self._clock = T0

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
        self._clock += MS
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
            resource={"service.name": "test"},
            **fields,
        )
        at = len(self.spans)
        self.spans.append(span)
        self._stack.append(at)
        yield span
        self._stack.pop()
        self._clock += MS
        self.spans[at] = replace(span, end_unix_nano=self._clock)

    @contextmanager
    def handoff(
        self, agent: str, reason: str = "", links: Sequence[Link] = (), **message: Any
    ) -> Iterator[dict[str, Span]]:
        """Delegate to an agent: invoke_agent CLIENT → send → process → invoke_agent INTERNAL."""
        delegation: dict[str, Any] = {c.GEN_AI_OPERATION_NAME: "invoke_agent", c.GEN_AI_AGENT_NAME: agent}
        if reason:
            delegation[c.DELEGATION_REASON] = reason
        message_id = message.pop("message_id", f"task-{len(self.spans)}")
        ours = {
            c.MESSAGING_DESTINATION_NAME: agent,
            c.MESSAGING_MESSAGE_ID: message_id,
            c.MESSAGING_SYSTEM: "redis",
        }
        with (
            self.inside(f"invoke_agent {agent}", "client", delegation, links=links) as client,
            self.inside(f"send {agent}", "producer", ours) as send,
            self.receipt(agent, ours | message) as process,
            self.agent(agent) as work,
        ):
            yield {"client": client, "send": send, "process": process, "agent": work}

    @contextmanager
    def receipt(self, agent: str, attributes: dict[str, Any], parent: Span | None = None) -> Iterator[Span]:
        """Receive a message, with Celery's lineage as the witness."""
        message_id = str(attributes[c.MESSAGING_MESSAGE_ID])
        self._root_message = self._root_message or message_id
        lineage = {c.MESSAGE_ROOT_ID: self._root_message, c.MESSAGE_ATTEMPT: 1}
        if self._messages:
            lineage[c.MESSAGE_PARENT_ID] = self._messages[-1]
        self._messages.append(message_id)
        with self.inside(f"process {agent}", "consumer", lineage | attributes, parent=parent) as span:
            yield span
        self._messages.pop()

    @contextmanager
    def agent(self, name: str, **attributes: Any) -> Iterator[Span]:
        """An agent at work."""
        own = {c.GEN_AI_OPERATION_NAME: "invoke_agent", c.GEN_AI_AGENT_NAME: name, c.RUN_SEGMENT: 1}
        self._agents.append(name)
        with self.inside(f"invoke_agent {name}", "internal", own | attributes) as span:
            yield span
        self._agents.pop()

    def chat(self, model: str = "scripted") -> Span:
        """Call a model."""
        return self.add(
            f"chat {model}", "internal", {c.GEN_AI_OPERATION_NAME: "chat", c.GEN_AI_REQUEST_MODEL: model}
        )

    @contextmanager
    def tool(
        self, name: str, risk: str = "read", *, asked_by: Span | None = None, **attributes: Any
    ) -> Iterator[Span]:
        """Call a tool that runs; above `read` with the operator's decision, and an approval where needed.

        Keyword arguments are attributes with `.` written as `__`; `None` leaves one out.
        """
        own: dict[str, Any] = {
            c.GEN_AI_OPERATION_NAME: "execute_tool",
            c.GEN_AI_TOOL_NAME: name,
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
        with self.inside(f"execute_tool {name}", "internal", kept, links=links) as span:
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
    return Link(chat.trace_id, chat.span_id, {c.LINK_TYPE: c.LINK_CAUSED_BY_GENERATION})


class MemorySource:
    """A source over a list of spans."""

    name = "memory"

    def __init__(self, spans: Sequence[Span], events: Sequence[LogEvent] = ()) -> None:
        self._spans, self._events = list(spans), list(events)

    def spans(self, trace_id: str) -> Sequence[Span]:
        return [span for span in self._spans if span.trace_id == trace_id]

    def events(self, trace_id: str) -> Sequence[LogEvent]:
        return [event for event in self._events if event.trace_id == trace_id]

    def traces_of_run(self, run_id: str) -> Sequence[str]:
        return list(dict.fromkeys(span.trace_id for span in self._spans if span.text(c.RUN_ID) == run_id))

    def traces(self, limit: int = 20) -> Sequence[TraceSummary]:
        from handrail_harness.sources.summaries import summarize

        return summarize(self._spans, limit)

    def close(self) -> None:
        return None


def cleanup_run() -> RunBuilder:
    """A clean run of three agents: a fan-out of two hand-offs below a first one, tools of several risks."""
    run = RunBuilder()
    with run.handoff("cleaner", "free space on db-7"):
        asking = run.chat()
        for host in ("orders", "logs"):
            with run.handoff("scout", f"size {host}", links=[caused_by(asking)]):
                chat = run.chat()
                with run.tool(
                    "table_sizes", asked_by=chat, **{c.TOOL_TOUCHES: [f"postgresql://db-7/{host}"]}
                ):
                    run.add(
                        "SELECT",
                        "client",
                        {"db.system.name": "postgresql", "db.query.text": "SELECT 1 FROM t"},
                    )
        deciding = run.chat()
        with run.tool(
            "drop_table",
            "destructive",
            asked_by=deciding,
            **{c.TOOL_TOUCHES: ["postgresql://db-7/logs/old"], c.TOOL_CREDENTIAL_ID: "sha256:0123456789ab"},
        ):
            run.add(
                "DROP",
                "client",
                {
                    "db.system.name": "postgresql",
                    "db.namespace": "logs",
                    "db.query.text": "DROP TABLE old",
                    "server.address": "db-7",
                },
            )
        run.call("notify", "external", asked_by=deciding)
    return run


def edited(spans: Sequence[Span], which: Span, change: Callable[[Span], Span]) -> list[Span]:
    """Return the spans with one of them changed."""
    return [change(span) if span.span_id == which.span_id else span for span in spans]
