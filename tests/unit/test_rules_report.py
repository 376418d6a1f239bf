"""What a report says about particular faults, and how a trace is named."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import pytest

from handrail_harness.errors import TraceNotFound
from handrail_harness.rules import check
from handrail_harness.rules.base import Breach
from handrail_harness.rules.reading import find_trace
from handrail_harness.spans import Link, Span
from handrail_harness.strategies.edits import OTHER_TRACE
from handrail_harness.strategies.finding_faults import lost_traceparent
from handrail_propagation import conventions as c

from .support.runs import MemorySource, RunBuilder, cleanup_run


def scout_first(spans: list[Span]) -> Span:
    return next(span for span in spans if span.name.endswith(" scout"))


def test_a_lost_traceparent_is_told_as_that_hand_off() -> None:
    """Send, queue, message id and the place of the consumer are in the finding; the tree stays broken."""
    spans, _, send_id = lost_traceparent(cleanup_run().spans, scout_first)
    report = check(MemorySource(spans), f"{1:032x}")
    (finding,) = report.findings
    (handoff,) = report.document()["broken_handoffs"]
    assert finding.span.span_id == handoff["send_span_id"] == send_id
    assert handoff["queue"] == "scout"
    assert handoff["consumers"] == [{"trace_id": OTHER_TRACE, "span_id": finding.evidence[1].span_id}]
    for part in (send_id, "scout", handoff["message_id"], OTHER_TRACE):
        assert part in finding.detail
    assert not report.unified
    assert report.tree() == {"spans": len(spans), "traces": 2, "roots": 2, "orphans": 0, "unified": False}


def test_the_lost_branch_finds_the_rest_of_its_run() -> None:
    """Asked for the torn-off trace, the report is about the whole run."""
    spans, _, send_id = lost_traceparent(cleanup_run().spans, scout_first)
    report = check(MemorySource(spans), OTHER_TRACE)
    assert report.trace_ids == (OTHER_TRACE, f"{1:032x}")
    assert [finding.span.span_id for finding in report.findings] == [send_id]


@pytest.mark.parametrize(
    ("broker", "joins"),
    [
        ({}, True),
        ({c.MESSAGING_SYSTEM: "rabbitmq", c.MESSAGING_DESTINATION_NAME: "scout:scout-queue"}, True),
        ({c.MESSAGING_SYSTEM: "redis", c.MESSAGING_DESTINATION_NAME: "scout:scout-queue"}, False),
    ],
    ids=["same name", "the queue added", "another queue"],
)
def test_without_message_ids_lineage_joins(broker: dict[str, str], joins: bool) -> None:
    """Where no message id is recorded, Celery's parent id tells which send a torn-off receipt is of."""
    spans, _, send_id = lost_traceparent(cleanup_run().spans, scout_first)
    blank = {
        span.span_id: {key: value for key, value in span.attributes.items() if key != c.MESSAGING_MESSAGE_ID}
        for span in spans
        if span.name.endswith(" scout")
    }
    for receipt in (span for span in spans if span.kind == "consumer" and span.span_id in blank):
        blank[receipt.span_id] |= broker
    # Two sends to one queue by one task cannot be told apart: keep the other branch out.
    spans = [replace(span, attributes=blank.get(span.span_id, span.attributes)) for span in spans]
    report = check(MemorySource(spans), f"{1:032x}")
    found = [(one.send.span_id, one.joined_by) for one in report.handoffs.broken]
    assert found == ([(send_id, "lineage")] if joins else [])


@pytest.mark.parametrize(("lowest_root", "agrees"), [("b", True), ("a", False)])
def test_lineage_begins_anew_below_what_is_not_celery(lowest_root: str, agrees: bool) -> None:
    """Task a → stream entry → task b → task c: b has no parent task, and c's root is b and not a."""
    run = RunBuilder()
    deliveries: list[dict[str, str]] = [
        {c.MESSAGING_MESSAGE_ID: "a", c.MESSAGE_ROOT_ID: "a"},
        {c.MESSAGING_MESSAGE_ID: "17-0"},
        {c.MESSAGING_MESSAGE_ID: "b", c.MESSAGE_ROOT_ID: "b"},
        {c.MESSAGING_MESSAGE_ID: "c", c.MESSAGE_ROOT_ID: lowest_root, c.MESSAGE_PARENT_ID: "b"},
    ]
    with ExitStack() as nested:
        nested.enter_context(run.inside("root"))
        for delivery in deliveries:
            sent = {c.MESSAGING_MESSAGE_ID: delivery[c.MESSAGING_MESSAGE_ID]}
            nested.enter_context(run.inside("send q", "producer", sent))
            nested.enter_context(run.inside("process q", "consumer", dict(delivery)))
    report = check(MemorySource(run.spans))
    assert [one.consumer.name for one in report.disagreements] == ([] if agrees else ["process q"])
    assert report.unified is agrees


@pytest.mark.parametrize(("says", "agrees"), [("m", True), ("another", False)])
def test_a_retry_of_a_task_that_nobody_delegated_names_itself(says: str, agrees: bool) -> None:
    """Celery fills in the parent that such a task has not when it sends its own retry: that is no other story."""
    run = RunBuilder()
    with run.inside("root"), run.inside("send q", "producer", {c.MESSAGING_MESSAGE_ID: "m"}):
        for attempt, parent in ((1, {}), (2, {c.MESSAGE_PARENT_ID: says})):
            attributes = {c.MESSAGING_MESSAGE_ID: "m", c.MESSAGE_ROOT_ID: "m", c.MESSAGE_ATTEMPT: attempt}
            with run.inside("process q", "consumer", {**attributes, **parent}):
                pass
    disagreeing = check(MemorySource(run.spans)).disagreements
    assert [one.says for one in disagreeing] == ([] if agrees else ["another"])


def test_an_operation_that_is_a_list_is_none() -> None:
    """Whatever somebody writes as the operation's name, the run is examined."""
    run = RunBuilder()
    with run.inside("root"):
        run.add("ack q", "client", {c.MESSAGING_OPERATION_NAME: ["ack"]})
    assert check(MemorySource(run.spans)).sound


def test_attempts_of_one_message_are_siblings() -> None:
    """A redelivered message has two receipts under one send, and the tree is whole."""
    run = RunBuilder()
    with run.handoff("root"), run.inside("send w", "producer", {c.MESSAGING_MESSAGE_ID: "m"}) as send:
        pass
    run._messages.append(run.spans[2].text(c.MESSAGING_MESSAGE_ID))
    for attempt in (1, 2):
        with run.receipt("w", {c.MESSAGING_MESSAGE_ID: "m", c.MESSAGE_ATTEMPT: attempt}, parent=send):
            pass
    assert check(MemorySource(run.spans)).findings == ()


def test_a_send_that_failed_needs_no_consumer() -> None:
    """The broker never took the message, so nobody has to receive it."""
    run = RunBuilder()
    with run.handoff("root"):
        run.add("send w", "producer", {c.MESSAGING_MESSAGE_ID: "m"}, status_code="error")
    assert check(MemorySource(run.spans)).unified


@pytest.mark.parametrize("link_type", [c.LINK_WOKEN_BY, c.LINK_PREVIOUS_SEGMENT])
def test_a_woken_agent_delegates_under_its_first_segment(link_type: str) -> None:
    """After a wake the queue's parent is the wake message, the tree's is the first: links reconcile them."""
    run = RunBuilder()
    with run.handoff("planner") as first:
        with (
            run.handoff("scout"),
            run.inside("send planner", "producer", {c.MESSAGING_MESSAGE_ID: "wake"}),
            run.receipt("planner", {c.MESSAGING_MESSAGE_ID: "wake"}) as wake,
        ):
            pass
        run._messages.append("wake")
        target = wake if link_type == c.LINK_WOKEN_BY else first["agent"]
        attributes = {
            c.GEN_AI_OPERATION_NAME: "invoke_agent",
            c.GEN_AI_AGENT_NAME: "planner",
            c.RUN_SEGMENT: 2,
        }
        link = Link(target.trace_id, target.span_id, {c.LINK_TYPE: link_type})
        if link_type == c.LINK_PREVIOUS_SEGMENT:
            run._messages[-1] = run.spans[2].text(c.MESSAGING_MESSAGE_ID)
        with run.inside("invoke_agent planner", "internal", attributes, links=[link]), run.handoff("scribe"):
            pass
    assert check(MemorySource(run.spans)).findings == ()


def test_the_next_step_of_a_chain_follows_from_the_one_before() -> None:
    """Its send hangs under whoever built the chain; Celery's parent is the step before, which a link leads to."""
    run = RunBuilder()
    with run.inside("builds the chain"):
        first = run.send("steps")
        with run.received(first) as step:
            pass
        link = Link(step.trace_id, step.span_id, {c.LINK_TYPE: c.LINK_PREDECESSOR})
        second = run.send("steps")
        run.spans[-1] = replace(run.spans[-1], links=(link,))
        with run.received(second, **{c.MESSAGE_PARENT_ID: first.message_id}):
            pass
    assert check(MemorySource(run.spans)).sound


def test_a_receipt_under_a_span_that_is_no_send_has_no_hand_off() -> None:
    """A consumer below an ordinary span is reported with what it hangs below."""
    run = RunBuilder()
    with run.handoff("root"), run.inside("some work"):
        stray = run.add("process w", "consumer", {c.MESSAGING_MESSAGE_ID: "m"})
    (finding,) = check(MemorySource(run.spans)).findings
    assert (finding.name, finding.span.span_id) == ("consumer_without_handoff", stray.span_id)
    assert "some work" in finding.detail


def test_a_run_that_is_exported_again_is_the_same_run() -> None:
    """Telemetry is delivered at least once: equal copies are told in the report and held against nobody."""
    spans = cleanup_run().spans
    report = check(MemorySource([*spans, *(replace(span) for span in spans)]))
    assert report.unified
    assert report.findings == ()
    assert [twice["identical"] for twice in report.document()["duplicates"]] == [True] * len(spans)


def test_copies_that_differ_break_the_tree() -> None:
    """Two spans under one id are not repaired by leaving one out: the verdict is no, and stays no."""
    spans = cleanup_run().spans
    report = check(MemorySource([*spans, replace(spans[-1], name="another")]))
    assert not report.unified
    assert {finding.name for finding in report.findings} == {"duplicate_span"}
    assert [breach.standing for breach in report.breaches_of("unique_span_ids")] == ["final"]


def test_hostile_chains_take_no_stack_and_no_minutes() -> None:
    """50,000 sends and receipts nested in one another are checked in one pass."""
    spans = []
    for at in range(50_000):
        kind = "producer" if at % 2 == 0 else "consumer"
        attributes = {c.MESSAGING_MESSAGE_ID: "same", c.MESSAGE_PARENT_ID: "x", c.RUN_ID: "r"}
        parent = f"{at:016x}" if at else ""
        spans.append(Span("a" * 32, f"{at + 1:016x}", parent, "s", kind, at, at, attributes))  # type: ignore[arg-type]
    assert check(MemorySource(spans)).tree()["roots"] == 1


def test_ids_that_are_none_are_not_looked_up() -> None:
    """A megabyte as run id or root id goes into no query: what a hostile span says must not end the reading."""
    asked: list[str] = []

    class Asked(MemorySource):
        def traces_of_run(self, run_id: str) -> Sequence[str]:
            asked.append(run_id)
            return super().traces_of_run(run_id)

        traces_of_root = traces_of_run

    long = "x" * 1_000_000
    root, *_ = cleanup_run().spans
    spans = [
        replace(
            root, span_id=f"{number:016x}", attributes={"agent.run.id": text, "agent.message.root_id": text}
        )
        for number, text in enumerate((long, "short", long + "y"), 1)
    ]
    assert check(Asked(spans), root.trace_id).run_id == "short"
    assert asked == ["short", "short"]


class TestNamingATrace:
    def source(self) -> MemorySource:
        older = RunBuilder("run-a", trace=0xA1 << 120).add("older")
        newer = replace(RunBuilder("run-b", trace=0xA2 << 120).add("newer"), start_unix_nano=2**62)
        return MemorySource([older, newer])

    def test_the_latest_when_none_is_named(self) -> None:
        """Without a name the newest trace is meant."""
        assert find_trace(self.source(), None).startswith("a2")

    def test_by_id_in_any_case(self) -> None:
        """A trace id may be pasted in capitals and with blanks around it."""
        assert find_trace(self.source(), f" {'A1':0<32} ") == f"{'a1':0<32}"

    def test_by_run_id(self) -> None:
        """A run id names the trace of the run."""
        assert find_trace(self.source(), "run-a").startswith("a1")

    def test_by_prefix(self) -> None:
        """The beginning of an id will do while there is only one such trace."""
        assert find_trace(self.source(), "a2").startswith("a2")

    def test_an_ambiguous_prefix_is_refused(self) -> None:
        """Two traces that begin alike are both named in the error."""
        with pytest.raises(
            TraceNotFound, match=r"a is the beginning of 2 traces .*a10.* and a20.*more digits"
        ):
            find_trace(self.source(), "a")

    @pytest.mark.parametrize("name", ["", "  ", "f" * 32, "nope", "\x1b[31m", "f" * 1000])
    def test_what_is_not_there_is_one_line(self, name: str) -> None:
        """A name that fits nothing gives one printable line."""
        with pytest.raises(TraceNotFound) as error:
            find_trace(self.source(), name)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 300

    def test_an_empty_source_says_what_to_do(self) -> None:
        """Nothing there yet is said as such."""
        with pytest.raises(TraceNotFound, match="holds no trace yet"):
            find_trace(MemorySource([]), None)


def test_a_branch_without_any_run_id_is_found_by_lineage() -> None:
    """Baggage lost as well: Celery's root id leads from either trace to the other."""
    spans, _, send_id = lost_traceparent(cleanup_run().spans, scout_first)
    spans = [
        replace(span, attributes={key: value for key, value in span.attributes.items() if key != c.RUN_ID})
        if span.trace_id == OTHER_TRACE
        else span
        for span in spans
    ]
    for asked in (f"{1:032x}", OTHER_TRACE):
        report = check(MemorySource(spans), asked)
        assert set(report.trace_ids) == {f"{1:032x}", OTHER_TRACE}
        assert [finding.span.span_id for finding in report.findings if finding.name == "broken_handoff"] == [
            send_id
        ]
        assert not report.unified


def test_a_producer_that_is_not_believed() -> None:
    """A receipt that began a trace of its own on purpose, with a link to what was claimed, is told as that."""
    spans, _, send_id = lost_traceparent(cleanup_run().spans, scout_first)
    claim = Link(f"{1:032x}", send_id, {c.LINK_TYPE: c.LINK_CLAIMED})
    spans = [replace(span, links=(claim,)) if span.trace_id == OTHER_TRACE else span for span in spans]
    (finding,) = check(MemorySource(spans), f"{1:032x}").findings
    assert finding.name == "broken_handoff"
    assert finding.detail.endswith("its worker does not believe this producer")


def test_a_breach_names_the_task_of_a_message() -> None:
    """A message that is named after its queue is named with its task, one that has the task's name is not."""
    run = RunBuilder()
    for queue in ("celery", "scout"):
        run.add(f"{c.OPERATION_SEND} {queue}", "producer", {c.CELERY_TASK_NAME: "scout"})
    assert [span.full_name for span in run.spans] == ["send celery, task scout", "send scout"]
    breach = Breach("one_root", run.spans[0], "is a root", "final")
    assert str(breach) == f"one_root: send celery, task scout ({run.spans[0].span_id}) is a root"
