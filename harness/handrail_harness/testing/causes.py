"""Known patterns of broken hand-offs, each recognised by what it leaves behind, said in one line.

Evidence and no guess: a line is only given where the spans, the queue or a worker's log show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from handrail_harness.printable import printable
from handrail_harness.rules.handoffs import message_id_of
from handrail_harness.rules.semconv import OUR_SCOPE
from handrail_propagation.conventions import (
    ABANDONED,
    CELERY_TASK_NAME,
    LINK_CLAIMED,
    LINK_TYPE,
    MESSAGE_TRACEPARENT,
    MESSAGING_DESTINATION_NAME,
    TRACEPARENT_NOT_TRUSTED,
    TRACEPARENT_UNPARSABLE,
)

if TYPE_CHECKING:
    from handrail_harness.rules import Report, Settled
    from handrail_harness.spans import Span
    from handrail_harness.stack.workers import Worker
    from handrail_harness.testing.surroundings import Surroundings

_SENDS = 50
_CHILD = re.compile(r"/(ForkPoolWorker-\d+)\]")
_EXPORT_FAILED = re.compile(r"Failed to export|Transient error .* while exporting|Exception while exporting")
"""What OpenTelemetry's exporters and processors log."""


def causes_of(settled: Settled, around: Surroundings) -> list[str]:
    """Return the cause lines of a broken run, each once, the most telling first."""
    # Where a breach has ended the wait at once, what is not there may just be on its way: that is no evidence.
    waited = settled.ended_by != "final_breach"
    return list(dict.fromkeys(_causes(settled.report, around, waited=waited)))


def _causes(report: Report, around: Surroundings, *, waited: bool) -> Iterator[str]:
    if not report.forest.spans or all(span.scope_name == "handrail.tests" for span in report.forest.spans):
        yield from _nothing(around)
        return
    for handoff in report.handoffs.broken:
        for consumer in handoff.consumers:
            yield _torn(handoff.send, consumer, around)
    for consumer in report.handoffs.lost_consumers:
        if not consumer.parent_span_id.strip("0"):
            yield _torn(None, consumer, around)
    # Each asks the broker and reads logs: of thousands the first tell enough.
    lost = report.handoffs.lost_sends[:_SENDS] if waited else ()
    elsewhere = around.receipts_elsewhere(report.trace_ids) if lost else {}
    for send in lost:
        receipt = elsewhere.get(message_id_of(send))
        yield from [_torn(send, receipt, around)] if receipt is not None else _unreceived(send, around)
    for span in report.forest.spans:
        if span.attributes.get(ABANDONED) is True:
            yield f"worker process lost: it died in {printable(span.full_name, 80)} ({span.span_id})"


def _nothing(around: Surroundings) -> Iterator[str]:
    if not around.instrumented:
        yield (
            "no tracing: nothing instruments Celery in this process; call handrail_propagation.instrument(app), or "
            "CeleryInstrumentor().instrument(tracer_provider=handrail.tracer_provider)"
        )
    elif not around.watches_application:
        yield (
            "no tracing: Celery is instrumented, but no SDK tracer provider is set in this process; give "
            "handrail.tracer_provider to the instrumentor"
        )
    else:
        yield ("nothing sent: no message left under this run's root; was anything sent in it?")


def _torn(send: Span | None, consumer: Span, around: Surroundings) -> str:
    """The consumer is there, but not below its send: which way did its trace context go?"""
    queue = consumer.text(MESSAGING_DESTINATION_NAME) or (
        send.text(MESSAGING_DESTINATION_NAME) if send else ""
    )
    where = f"message {printable(message_id_of(consumer), 64) or '(no id)'} in queue {printable(queue, 60) or '?'}"
    seen = around.headers_of(message_id_of(consumer))
    noted = consumer.attributes.get(MESSAGE_TRACEPARENT)
    root = not consumer.parent_span_id.strip("0")
    claimed = any(link.attributes.get(LINK_TYPE) == LINK_CLAIMED for link in consumer.links)
    if noted == TRACEPARENT_NOT_TRUSTED or (root and claimed):
        return (
            f"header not trusted: the worker does not believe the traceparent of {where} (HANDRAIL_TRUST, or "
            f"instrument(trust=...)), so its consumer began a trace of its own, {consumer.trace_id}"
        )
    if (seen is not None and seen.value and not seen.parsable) or noted == TRACEPARENT_UNPARSABLE:
        value = f" as {printable(seen.value, 80)!r}" if seen is not None else ""
        return f"header unparsable: traceparent of {where} arrived{value} and names no span"
    # Our instrumentation notes what it cannot use; where it has noted nothing, there was nothing.
    if (seen is not None and seen.missing) or (root and consumer.scope_name == OUR_SCOPE):
        return (
            f"header missing: {where} arrived without traceparent, so its consumer began a trace of its own, "
            f"{consumer.trace_id}"
        )
    if root:
        return (
            f"header missing or unparsable: {where} arrived without a usable traceparent, so its consumer began a "
            f"trace of its own, {consumer.trace_id}"
        )
    return (
        f"header changed: {where} names span {consumer.parent_span_id} in trace {consumer.trace_id} as its sender, "
        "which is not the span that sent it"
    )


def _unreceived(send: Span, around: Surroundings) -> Iterator[str]:
    queue = send.text(MESSAGING_DESTINATION_NAME)
    message_id = message_id_of(send)
    task = send.text(CELERY_TASK_NAME)
    where = f"message {printable(message_id, 64) or '(no id)'} ({printable(task or queue, 60)})"
    waiting = around.waiting(queue)
    if waiting:
        yield (
            f"never taken: queue {printable(queue, 60)} still holds {waiting} message{'s' if waiting > 1 else ''}; "
            "is a worker consuming it?"
        )
        return
    survives_fork = send.scope_name == OUR_SCOPE  # one app has one instrumentation
    logs = [(worker, worker.log()) for worker in around.workers]
    # What another worker says, or that it has ended, is about other messages where one has taken this one.
    takers = [one for one in logs if message_id and message_id in one[1]]
    for worker, log in takers or logs:
        yield from _in_log(worker, log, message_id, task, where, survives_fork=survives_fork)
    if message_id and around.headers_of(message_id) is not None:
        yield (
            f"consumer never exported: {where} ran in a worker thread of this process, and no span of its receipt "
            "came; is Celery instrumented here, with a provider that is seen?"
        )


def _in_log(
    worker: Worker, log: str, message_id: str, task: str, where: str, *, survives_fork: bool
) -> Iterator[str]:
    lines = [line for line in log.splitlines() if message_id and message_id in line]
    if any("unregistered task" in line for line in log.splitlines()) and task and f"'{task}'" in log:
        yield f"unknown task: {where} reached worker {worker.hostname}, which has no task {printable(task, 60)}"
    elif not worker.running:
        yield f"worker lost: {worker.hostname} ended with status {worker.exit_status}; its spans went with it"
    elif any(" succeeded in " in line or " raised " in line for line in lines):
        child = next((found[1] for line in lines if (found := _CHILD.search(line))), "")
        failed = next((line for line in reversed(log.splitlines()) if _EXPORT_FAILED.search(line)), "")
        if failed:
            yield (
                f"consumer never exported: {where} ran in {worker.hostname}, whose exporter says: "
                f"{printable(failed.strip(), 200)}"
            )
        elif child and not survives_fork:
            yield (
                f"exporter thread lost at fork: {where} ran in {child} of {worker.hostname}, and no span of it came; "
                "an exporter's thread started before the fork does not run in the child: set providers up in "
                "worker_process_init, or call instrument(app)"
            )
        else:
            yield (
                f"consumer never exported: {where} ran in {worker.hostname}, and no span of its receipt came; does it "
                "export to this stack (OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT)?"
            )
    elif any(" received" in line for line in lines):
        yield f"still running: {where} was taken by {worker.hostname} and has not ended"
