"""Whole runs on real prefork workers, over Redis in a container, read back from Jaeger in another."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest
import redis

from handrail_harness.forest import Forest
from handrail_harness.rules import check
from handrail_harness.sources import Source
from handrail_harness.spans import Span
from handrail_harness.stack.containers import ContainerStack
from handrail_propagation import conventions as names

from ..support.waiting import wait_for
from .support import STARTS, WAKES, Fleet, forest_of_run, handrail

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def source(stack: ContainerStack) -> Iterator[Source]:
    """The session's Jaeger, as `check` reads it."""
    reader = stack.source()
    yield reader
    reader.close()


@dataclass(frozen=True)
class FinishedRun:
    """A run that is over, and all of its spans as Jaeger has them."""

    run_id: str
    trace_id: str
    outcome: str
    agents: Fleet
    forest: Forest


@pytest.fixture(scope="module")
def finished(
    stack: ContainerStack, source: Source, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FinishedRun]:
    """One run of `planner`, with a worker process for each agent."""
    agents = Fleet(stack.environ(), tmp_path_factory.mktemp("finished"))
    try:
        agents.start(["planner"], ["scout"], ["scribe"])
        run = agents.send(wait=True)
        forest = forest_of_run(source, run["run_id"])
        yield FinishedRun(run["run_id"], run["trace_id"], run["outcome"], agents, forest)
    finally:
        agents.stop()


def test_run_over_three_workers_is_one_tree(finished: FinishedRun, source: Source) -> None:
    """Two hand-offs and a fan-out between three processes: one trace in Jaeger, one root, nothing apart."""
    assert finished.outcome == "Done"
    forest = finished.forest
    assert {span.trace_id for span in forest.spans} == {finished.trace_id}
    assert len(forest.roots) == 1
    assert not forest.orphans
    assert not forest.duplicates
    assert delegations(forest) == {("planner", "scout"): 1, ("scout", "scribe"): 1, ("planner", "scribe"): 2}
    report = check(source, finished.trace_id)
    assert report.unified, report.problems()
    assert not report.findings


def test_every_receipt_hangs_under_its_send(finished: FinishedRun) -> None:
    """Each message, start or wake, was received by the worker of its queue, as child of and linked to its send."""
    receipts = [span for span in finished.forest.spans if span.kind == "consumer"]
    counts = Counter(span.text(names.MESSAGING_DESTINATION_NAME) for span in receipts)
    assert set(counts) == {finished.agents.queue(agent) for agent in STARTS}
    for agent, starts in STARTS.items():
        assert starts <= counts[finished.agents.queue(agent)] <= starts + WAKES[agent]
    for receipt in receipts:
        send = finished.forest.parent_of(receipt)
        assert send is not None
        assert send.kind == "producer"
        assert send.text(names.MESSAGING_MESSAGE_ID) == receipt.text(names.MESSAGING_MESSAGE_ID)
        assert (send.trace_id, send.span_id) in {(link.trace_id, link.span_id) for link in receipt.links}
    nodes = {span.text(names.MESSAGING_CLIENT_ID).split("@")[0] for span in receipts}
    assert nodes == {worker.hostname.split("@")[0] for worker in finished.agents.workers}
    assert len(nodes) == 3


def test_check_of_a_whole_run_exits_with_0(finished: FinishedRun, stack: ContainerStack) -> None:
    """`handrail check jaeger:URL TRACE` says that the tree is whole, and its exit status does."""
    checked = handrail("check", f"jaeger:{stack.jaeger_url}", finished.trace_id)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_investigation_out_of_jaeger(finished: FinishedRun, stack: ContainerStack) -> None:
    """`handrail investigate jaeger:URL TRACE --json` has every effect, why it happened and what it touched."""
    done = handrail("investigate", f"jaeger:{stack.jaeger_url}", finished.trace_id, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["trace_id"] == finished.trace_id
    assert document["run_id"] == finished.run_id
    assert document["tree"]["unified"] is True
    notes = [effect for effect in document["what"] if effect["tool"] == "write_note"]
    assert [(note["agent"], note["risk"], note["disposition"], note["result_status"]) for note in notes] == [
        ("scribe", "write", "executed", "ok")
    ] * 3
    why = {reason["span_id"]: reason for reason in document["why"]}
    assert {why[note["span_id"]]["intent"] for note in notes} == {"Keep what was measured"}
    paths = [[step["agent"] for step in why[note["span_id"]]["delegation_path"]] for note in notes]
    assert sorted(paths) == [["planner", "scout", "scribe"], ["planner", "scribe"], ["planner", "scribe"]]
    touched = [one for one in document["touched"] if one["resource"] == "log://capacity"]
    assert {one["span_id"] for one in touched} == {note["span_id"] for note in notes}


def test_stripped_traceparent_is_reported_as_that_handoff(
    stack: ContainerStack, source: Source, fleet: Callable[[Mapping[str, str]], Fleet]
) -> None:
    """One message loses its traceparent while it lies in Redis: `check` names its send span, and nothing else."""
    agents = fleet(stack.environ())
    agents.start(["planner", "scout"])
    run = agents.send(wait=False)
    with redis.Redis.from_url(stack.redis_url) as client:
        queue = agents.queue("scribe")
        wait_for(lambda: client.llen(queue) == 1, what="scout's message to scribe")
        message = json.loads(client.lindex(queue, 0))
        trace_id, send_id = message["headers"].pop("traceparent").split("-")[1:3]
        assert trace_id == run["trace_id"]
        client.lset(queue, 0, json.dumps(message))
    agents.start(["scribe"])
    forest = forest_of_run(source, run["run_id"])

    lost = [
        span for span in forest.spans if span.text(names.MESSAGING_MESSAGE_ID) == message["headers"]["id"]
    ]
    assert sorted(span.kind for span in lost) == ["consumer", "producer"]
    send, receipt = sorted(lost, key=lambda span: span.kind, reverse=True)
    assert send.span_id == send_id
    assert receipt.trace_id != send.trace_id

    address = f"jaeger:{stack.jaeger_url}"
    checked = handrail("check", address, run["trace_id"], "--json")
    assert checked.returncode == 1, checked.stdout + checked.stderr
    report = json.loads(checked.stdout)
    assert [(one["finding"], one["span_id"]) for one in report["findings"]] == [("broken_handoff", send_id)]
    assert [(one["send_span_id"], one["queue"], one["consumers"]) for one in report["broken_handoffs"]] == [
        (send_id, queue, [{"trace_id": receipt.trace_id, "span_id": receipt.span_id}])
    ]
    # What follows from it, and nothing else: the branch below is a trace and a root of its own.
    assert {rule for rule, holds in report["rules"].items() if not holds} == {
        "one_trace",
        "one_root",
        "handoff_received",
        "consumer_has_handoff",
    }
    assert report["tree"] | {"spans": 0} == {
        "spans": 0,
        "traces": 2,
        "roots": 2,
        "orphans": 0,
        "unified": False,
    }
    shown = handrail("check", address, run["trace_id"])
    assert shown.returncode == 1
    assert send_id in shown.stdout


def delegations(forest: Forest) -> Counter[tuple[str, str]]:
    """Who delegated to whom, by the tree alone: the agent's span above a CLIENT `invoke_agent` and that span."""

    def agent(span: Span | None) -> str:
        return "" if span is None else span.text(names.GEN_AI_AGENT_NAME)

    return Counter(
        (agent(forest.parent_of(span)), agent(span))
        for span in forest.spans
        if span.kind == "client"
        and span.text(names.GEN_AI_OPERATION_NAME) == names.OPERATION_INVOKE_AGENT
        and forest.parent_of(span) is not None
    )
