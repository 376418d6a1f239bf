"""Cause lines: each pattern by what it leaves behind in spans, queues and logs, and no other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from handrail_harness.rules import settle
from handrail_harness.rules.handoffs import message_id_of
from handrail_harness.rules.semconv import OUR_SCOPE
from handrail_harness.spans import Span
from handrail_harness.strategies.finding_faults import worker_without_tracing
from handrail_harness.testing.causes import causes_of

from .support.runs import MemorySource, RunBuilder, cleanup_run

if TYPE_CHECKING:
    from handrail_harness.testing.surroundings import Surroundings

TRACE = f"{1:032x}"
CHILD = "[2026-11-30 22:55:42,897: INFO/ForkPoolWorker-1] Task {task}[{id}] succeeded in 0.01s: 0"
MAIN = "[2026-11-30 22:55:42,897: INFO/MainProcess] Task {task}[{id}] received"
FAILED = "[2026-11-30 22:55:42,897: ERROR/ForkPoolWorker-1] Failed to export span batch code: 503, reason: Unavailable"


@dataclass
class Logged:
    """As much of a worker as causes are told from."""

    text: str
    hostname: str = "w1@here"
    running: bool = True
    exit_status: int | None = None

    def log(self) -> str:
        return self.text


@dataclass
class Around:
    """Surroundings of a run in which one hand-off was not received."""

    workers: list[Logged] = field(default_factory=list)
    in_queue: int = 0
    elsewhere: dict[str, Span] = field(default_factory=dict)
    instrumented: bool = True
    watches_application: bool = True
    asked: int = 0

    def headers_of(self, message_id: str) -> None:
        return None

    def waiting(self, queue: str) -> int:
        self.asked += 1
        return self.in_queue

    def receipts_elsewhere(self, trace_ids: object) -> dict[str, Span]:
        return self.elsewhere


def causes(around: Around, *, scope: str = "opentelemetry.instrumentation.celery") -> list[str]:
    """The cause lines of a run whose first send, by an instrumentation of this name, was never received."""
    spans, send = unreceived(scope)
    for worker in around.workers:
        worker.text = worker.text.format(task="cleaner", id=message_id_of(send))
    stand_in: Any = around
    surroundings: Surroundings = stand_in
    return causes_of(settle(MemorySource(spans), TRACE, deadline=0, invariants=()), surroundings)


def unreceived(scope: str) -> tuple[list[Span], Span]:
    spans, _, send_id = worker_without_tracing(cleanup_run().spans, lambda choices: choices[0])
    send = next(span for span in spans if span.span_id == send_id)
    told = replace(send, scope_name=scope, attributes={**send.attributes, "celery.task_name": "cleaner"})
    return [told if span is send else span for span in spans], told


@pytest.mark.parametrize(
    ("log", "scope", "told"),
    [
        (CHILD, "stock", "exporter thread lost at fork: message * ran in ForkPoolWorker-1 of w1@here"),
        (CHILD, OUR_SCOPE, "consumer never exported: message * does it export to this stack"),
        (CHILD + "\n" + FAILED, "stock", "whose exporter says: * Failed to export span batch code: 503"),
        (CHILD + "\n" + FAILED, OUR_SCOPE, "whose exporter says: * Failed to export span batch code: 503"),
        (CHILD.replace("ForkPoolWorker-1", "MainProcess"), "stock", "consumer never exported: message *"),
        (MAIN, "stock", "still running: message * was taken by w1@here and has not ended"),
        ("Received unregistered task of type 'cleaner'.", "stock", "unknown task: message * no task cleaner"),
    ],
)
def test_what_a_log_shows(log: str, scope: str, told: str) -> None:
    """One line, of the pattern that the worker's log is evidence of."""
    (line,) = causes(Around([Logged(log)]), scope=scope)
    place = 0
    for part in told.split("*"):
        assert part.strip() in line[place:], line
        place = line.index(part.strip()) + len(part.strip())


def test_nothing_shown_is_nothing_told() -> None:
    """A worker that says nothing of the message is no evidence of anything."""
    assert causes(Around([Logged("ready")])) == []


def test_what_is_in_a_queue_was_not_taken() -> None:
    """That goes before whatever logs say."""
    (line,) = causes(Around([Logged(CHILD)], in_queue=2))
    assert line.startswith("never taken: queue")
    assert "holds 2 messages" in line


def test_a_worker_that_has_ended() -> None:
    """Its status is told."""
    (line,) = causes(Around([Logged(MAIN, running=False, exit_status=137)]))
    assert line == "worker lost: w1@here ended with status 137; its spans went with it"


def test_a_worker_that_never_had_the_message_is_not_blamed() -> None:
    """A worker that has ended is a cause only where no other has taken the message."""
    idle = Logged("ready", hostname="w2@here", running=False, exit_status=137)
    (line,) = causes(Around([idle, Logged(MAIN)]))
    assert line.startswith("still running: message")
    (line,) = causes(Around([idle]))
    assert line.startswith("worker lost: w2@here")


def test_a_receipt_in_another_trace_goes_before_logs() -> None:
    """The message was received, and its span did come: it lost its header."""
    _, send = unreceived("stock")
    receipt = replace(send, kind="consumer", parent_span_id="", trace_id="2" * 32, scope_name="stock")
    (line,) = causes(Around([Logged(CHILD)], elsewhere={message_id_of(send): receipt}))
    assert line.startswith("header missing or unparsable: message")
    assert line.endswith(f"began a trace of its own, {'2' * 32}")


def test_thousands_of_lost_messages_ask_a_few_times() -> None:
    """A run whose worker was never there fails as fast as any: the broker and the logs are not asked for each send."""
    run = RunBuilder()
    with run.agent("cleaner"):
        for _ in range(3_000):
            run.send("scout")
    around: Any = Around(in_queue=3_000)
    settled = settle(MemorySource(run.spans), run.spans[0].trace_id, deadline=0, invariants=())
    assert len(settled.report.handoffs.lost_sends) == 3_000
    assert len(causes_of(settled, around)) == 1
    assert 0 < around.asked <= 50
