"""Puts scenarios through the worker under a send of our own, and judges the traces that its instrumentation made.

The client's `send` span is exported like any other, so that a trace begins with what really began it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from celery import Celery
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind

from handrail_harness.conformance.exchange import publish
from handrail_harness.conformance.outcome import Outcome
from handrail_harness.conformance.scenarios import CANARY, Scenario
from handrail_harness.forest import Forest
from handrail_harness.roles import Role
from handrail_harness.rules import INVARIANTS, Breach, InvariantName, Report, settle
from handrail_harness.rules.handoffs import message_id_of
from handrail_harness.sources.base import Source
from handrail_harness.spans import Span
from handrail_propagation import conventions as c
from handrail_propagation.tracecontext import format_traceparent

CLIENT: Final = "handrail-conformance"
_QUIET: Final = 0.5  # seconds without a new span
_MESSAGING: Final[frozenset[Role]] = frozenset({"send", "process", "settle"})
_GENAI: Final[frozenset[Role]] = frozenset(
    {"delegation", "agent", "chat", "tool", "retrieval", "memory", "embeddings", "approval"}
)
Reports = Mapping[str, tuple[Scenario, Report]]


def examine(
    app: Celery, queue: str, scenarios: Sequence[Scenario], source: Source, endpoint: str, *, timeout: float
) -> list[Outcome]:
    """Send every scenario to `queue`, wait up to `timeout` seconds for the traces in `source`, and judge them.

    `app` gives the broker, `endpoint` is the base URL that our own spans go to, OTLP over HTTP.
    """
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource({"service.name": CLIENT}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")))
    try:
        traces = {scenario.name: _send(app, queue, scenario, provider) for scenario in scenarios}
    finally:
        provider.shutdown()
    deadline = time.monotonic() + timeout
    reports = {
        scenario.name: (
            scenario,
            settle(
                source,
                traces[scenario.name],
                deadline=max(deadline - time.monotonic(), _QUIET),
                quiet=_QUIET,
                invariants=(),  # a final breach of one must not keep the rest of the trace from being read
            ).report,
        )
        for scenario in scenarios
    }
    return judge(reports)


def _send(app: Celery, queue: str, scenario: Scenario, provider: TracerProvider) -> str:
    """Send a scenario's first message inside of a PRODUCER span; return its trace id."""
    attributes = {
        c.MESSAGING_SYSTEM: "redis",
        c.MESSAGING_OPERATION_NAME: c.OPERATION_SEND,
        c.MESSAGING_OPERATION_TYPE: c.OPERATION_SEND,
        c.MESSAGING_DESTINATION_NAME: queue,
    }
    tracer = provider.get_tracer(CLIENT)
    with (
        tracer.start_as_current_span(f"send {queue}", kind=SpanKind.PRODUCER, attributes=attributes) as span,
        app.connection_for_write() as connection,
    ):
        context = span.get_span_context()
        message_id = publish(
            app,
            connection,
            queue,
            scenario.task,
            scenario.arguments(queue),
            scenario.kwargs,
            headers={
                "traceparent": format_traceparent(context),
                "baggage": f"{c.BAGGAGE_RUN_ID}={CLIENT}-{scenario.name}",
            },
        )
        span.set_attribute(c.MESSAGING_MESSAGE_ID, message_id)
    return f"{context.trace_id:032x}"


def judge(reports: Reports) -> list[Outcome]:
    """Return an outcome for every row, from each scenario with the report on its trace, by names.

    Where no span of the app is among them, every row fails: nothing passes for want of spans.
    """
    return list(_judged(reports))


def _judged(reports: Reports) -> Iterator[Outcome]:
    arrived = any(_of_app(report.forest.distinct) for _, report in reports.values())
    nothing = () if arrived else ("no span of the app arrived, so there is nothing to judge",)
    for name, expected, source, look in _LOOKS:
        yield Outcome("messages", name, expected, nothing or _told(reports, look), source)
    breaches = [(name, one) for name, (_, report) in reports.items() for one in report.breaches]
    of_app = [span for _, report in reports.values() for span in _of_app(report.forest.distinct)]
    roles = {span.look.role for span in of_app}
    for name, expected, of in (
        (
            "messaging",
            "Sends and receipts have the names, kinds and attributes of the conventions.",
            _MESSAGING,
        ),
        (
            "genai",
            "Agents, models and tools have the names, kinds and attributes of the conventions.",
            _GENAI,
        ),
    ):
        seen = _places((scenario, one) for scenario, one in breaches if _convention_of(one) in of)
        skipped = "" if roles & of else f"no {name} span came; name a task of yours that makes some (--task)"
        yield Outcome(
            "conventions", name, expected, seen if arrived else nothing, "semantic conventions", skipped
        )
    for invariant in INVARIANTS.values():
        if invariant.name == "conventions":
            continue
        expected = invariant.statement[0].upper() + invariant.statement[1:] + "."
        seen = _places((name, one) for name, one in breaches if one.invariant == invariant.name)
        needs, lacking = _NEEDS.get(invariant.name, (_anything, ""))
        skipped = "" if any(needs(span) for span in of_app) else lacking
        yield Outcome(
            "tree", invariant.name, expected, nothing or seen, f"invariant {invariant.name}", skipped
        )


def _anything(span: Span) -> bool:
    return True


# What an invariant is about; without it there is nothing to judge, and nothing passes for want of that.
_NEEDS: Final[dict[InvariantName, tuple[Callable[[Span], bool], str]]] = {
    "decision_before_action": (
        lambda span: span.look.role == "tool",
        "no tool was called; name a task (--task)",
    ),
    "lineage_agrees": (
        lambda span: span.kind == "consumer" and c.MESSAGE_ROOT_ID in span.attributes,
        f"no receipt records the queue's lineage ({c.MESSAGE_ROOT_ID}, {c.MESSAGE_PARENT_ID})",
    ),
    "baggage_arrived": (
        lambda span: c.RUN_ID in span.attributes,
        f"no span has {c.RUN_ID}, though the baggage of each first message has",
    ),
}


def _convention_of(breach: Breach) -> Role | None:
    if breach.invariant != "conventions":
        return None
    role = breach.span.look.role
    return "send" if role == "other" else role  # an attribute of ours on a span that has no conventions


def _of_app(spans: Iterable[Span]) -> list[Span]:
    return [span for span in spans if span.scope_name != CLIENT]


def _places(breaches: Iterable[tuple[str, Breach]]) -> tuple[str, ...]:
    """One line for each thing that is wrong, with the scenarios in which it is."""
    found: dict[str, dict[str, None]] = {}
    for scenario, breach in breaches:
        found.setdefault(f"{breach.span.name}: {breach.detail}", {})[scenario] = None
    return tuple(f"{', '.join(scenarios)}: {what}" for what, scenarios in found.items())


_Look = Callable[[Scenario, Report], Iterable[str]]


def _told(reports: Reports, look: _Look) -> tuple[str, ...]:
    """One line for each thing that is wrong, with how often it is."""
    found = Counter(
        f"{name}: {what}" for name, (scenario, report) in reports.items() for what in look(scenario, report)
    )
    return tuple(what if times == 1 else f"{what}, {times} times" for what, times in found.items())


def _deliveries(report: Report) -> list[Span]:
    return [span for span in report.forest.distinct if span.kind == "consumer"]


def _received(scenario: Scenario, report: Report) -> Iterator[str]:
    count = len(_deliveries(report))
    if scenario.received is None:
        if not count:
            yield "no process span in its trace"
    elif count != scenario.received:
        yield f"{count} process spans in its trace, not {scenario.received}"


def _siblings(scenario: Scenario, report: Report) -> Iterator[str]:
    by_message: dict[str, list[Span]] = {}
    for span in _deliveries(report):
        by_message.setdefault(message_id_of(span), []).append(span)
    for spans in by_message.values():
        for span in spans:
            if any(above in spans for above in _above(span, report.forest)):
                yield f"an attempt, {span.name}, hangs below an earlier attempt of its message"


def _above(span: Span, forest: Forest) -> Iterator[Span]:
    seen: set[str] = set()
    at = forest.parent_of(span)
    while at is not None and at.span_id not in seen:
        seen.add(at.span_id)
        yield at
        at = forest.parent_of(at)


def _linked(scenario: Scenario, report: Report) -> Iterator[str]:
    for span in _deliveries(report):
        parent = report.forest.parent_of(span)
        if parent is not None and not any(link.span_id == parent.span_id for link in span.links):
            yield f"{span.name} has no link to the send that it hangs below"


def _failures(scenario: Scenario, report: Report) -> Iterator[str]:
    failed = sum(span.status_code == "error" for span in _deliveries(report))
    if scenario.received is not None and failed != scenario.failures:
        yield f"{failed} process spans have status ERROR, not {scenario.failures}"


def _no_canary(scenario: Scenario, report: Report) -> Iterator[str]:
    word = CANARY.split()[0]
    for span in _of_app(report.forest.distinct):
        texts: dict[str, Any] = {"its status description": span.status_message, **span.attributes}
        for event in span.events:
            texts |= {f"{key} of event {event.name}": value for key, value in event.attributes.items()}
        for where, text in texts.items():
            if word in str(text):
                yield f"{span.name}: {where} has the text that the task failed with"


_MESSAGING_SPANS: Final = "messaging conventions, spans"
_LOOKS: Final[tuple[tuple[str, str, str, _Look], ...]] = (
    (
        "received",
        "Each delivery, and nothing else, leaves one process span in the sender's trace.",
        _MESSAGING_SPANS,
        _received,
    ),
    (
        "attempts_are_siblings",
        "Attempts of one message do not hang below one another.",
        "docs/propagation.md",
        _siblings,
    ),
    (
        "linked_to_send",
        "A process span is linked to the send whose message it handles.",
        _MESSAGING_SPANS,
        _linked,
    ),
    (
        "failures_are_errors",
        "A delivery that failed, and no other, has status ERROR.",
        "recording errors",
        _failures,
    ),
    (
        "failure_text_stays_home",
        "The text of an exception, which may quote anything, is on no span.",
        "docs/invariants/no_content_in_attributes.md",
        _no_canary,
    ),
)
