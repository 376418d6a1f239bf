"""Whole runs on real workers: three agents, hand-offs and a fan-out are one tree; nobody holds a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from handrail_agents import Done, Failed
from handrail_harness.stack.workers import running
from handrail_propagation import conventions as names

from .conftest import Crew, segments, tools, wait_until

pytestmark = pytest.mark.integration


def test_three_agents_make_one_tree(crew: Crew) -> None:
    """A planner, a hand-off, then a fan-out of two: the value comes back and every message is in one trace."""
    job = crew.ops.send("planner", host="db-7")
    assert crew.end(job) == Done("planned")
    report = crew.report(job)
    assert report.sound, report.problems()
    assert report.trace_ids == (job.trace_id,)
    spans = report.forest.spans
    received = Counter(
        span.text(names.MESSAGING_DESTINATION_NAME) for span in spans if span.kind == "consumer"
    )
    # Starts, and one wake after each of the planner's two delegations
    assert received == {crew.queue("planner"): 3, crew.queue("scout"): 1, crew.queue("scribe"): 2}
    assert Counter(span.kind for span in spans)["producer"] == sum(received.values())
    assert {span.attributes.get(names.RUN_ID) for span in spans} == {job.run_id}
    assert not any(span.status_code == "error" for span in spans)


def test_segments_of_a_parked_agent(crew: Crew) -> None:
    """A woken agent goes on under its first segment, linked to the one before and to the message that woke it."""
    job = crew.ops.send("planner", host="db-7")
    crew.end(job)
    report = crew.report(job)
    first, *later = segments(report, "planner")
    assert [span.attributes[names.RUN_SEGMENT] for span in (first, *later)] == [1, 2, 3]
    parent = report.forest.parent_of(first)
    assert parent is not None
    assert parent.kind == "consumer"
    for before, span in zip((first, *later), later, strict=False):
        assert span.parent_span_id == first.span_id
        linked = {link.attributes[names.LINK_TYPE]: link.span_id for link in span.links}
        assert linked[names.LINK_PREVIOUS_SEGMENT] == before.span_id
        woken_by = report.forest.by_key[(span.trace_id, linked[names.LINK_WOKEN_BY])]
        assert woken_by.kind == "consumer"
        assert woken_by.start_unix_nano >= before.end_unix_nano
    # The model is asked once a turn and each tool runs once, however often the function is replayed
    chats = [span for span in report.forest.spans if span.name.startswith("chat ")]
    assert Counter(report.forest.parent_of(span).name for span in chats) == {  # type: ignore[union-attr]
        "invoke_agent planner": 3,
        "invoke_agent scribe": 4,
    }


def test_who_delegated_why_and_on_whose_advice(crew: Crew) -> None:
    """Each delegation says its reason and which model turn asked for it; each callee says who called."""
    job = crew.ops.send("planner", host="db-7")
    crew.end(job)
    report = crew.report(job)
    asked = [
        span
        for span in report.forest.spans
        if span.kind == "client" and span.name in ("invoke_agent scout", "invoke_agent scribe")
    ]
    assert Counter(span.text(names.DELEGATION_REASON) for span in asked) == {
        "measure before anything is planned": 1,
        "both summaries at once": 2,
    }
    for span in asked:
        (cause,) = (
            link for link in span.links if link.attributes[names.LINK_TYPE] == names.LINK_CAUSED_BY_GENERATION
        )
        assert report.forest.by_key[(cause.trace_id, cause.span_id)].name == "chat scripted"
    called = segments(report, "scout") + segments(report, "scribe")
    assert len(called) == 3
    assert {span.text(names.CALLER_NAME) for span in called} == {"planner"}
    assert {tuple(span.attributes[names.DELEGATION_PATH]) for span in called} == {("planner",)}  # type: ignore[arg-type]
    notes = tools(report, "note")
    assert len(notes) == 2
    for span in notes:
        (link,) = span.links
        assert link.attributes[names.LINK_TYPE] == names.LINK_CAUSED_BY_GENERATION


def test_one_child_process_serves_parent_and_child(assembled: Callable[..., Crew]) -> None:
    """While a parent waits its worker is free: one process with concurrency 1 is enough for both, ten times over."""
    crew = assembled()
    with (
        running([crew.worker("planner", "scout", "scribe", concurrency=1)]),
        ThreadPoolExecutor(10) as threads,
    ):
        jobs = [crew.ops.send("planner", host=f"db-{number}") for number in range(10)]
        assert list(threads.map(crew.end, jobs)) == [Done("planned")] * 10


def test_duplicates_of_start_and_wake_do_nothing(assembled: Callable[..., Crew], key: str) -> None:
    """A start and a wake message that are delivered twice run every effect once, and the run ends as it would."""
    crew = assembled()
    job = crew.ops.send("boss", before=f"{key}-1", calls=[["hold", {"key": key}]], after=f"{key}-2")
    crew.put("boss", *crew.waiting("boss"))
    assert len(crew.waiting("boss")) == 2
    with running([crew.worker("hand")]):
        with running([first := crew.worker("boss")]):
            wait_until(lambda: crew.effects(key) == 1, what="the child's work")
            wait_until(lambda: crew.through(first, "boss", 2), what="the duplicate's end")
        assert crew.state(job) == "parked"
        crew.let_go(key)
        wait_until(lambda: len(crew.waiting("boss")) == 1, what="the wake message")
    crew.put("boss", *crew.waiting("boss") * 2)
    with running([second := crew.worker("boss", concurrency=2)]):
        assert crew.end(job) == Done(["line 1", ["held"], "line 1"])
        wait_until(lambda: crew.through(second, "boss", 3), what="the duplicates' end")
    assert [crew.effects(name) for name in (f"{key}-1", key, f"{key}-2")] == [1, 1, 1]
    assert crew.end(job) == Done(["line 1", ["held"], "line 1"])


def test_failure_of_a_child_reaches_the_parent(crew: Crew, key: str) -> None:
    """A child that fails gives its parent `Failed` in the result's place; the parent decides, and goes on here."""
    outcome, report = crew.run("boss", before=key, calls=[["explode", {"text": "x"}]], after=key)
    assert isinstance(outcome, Done)
    first, failed, last = outcome.value
    assert (first, last) == ("line 1", "line 2")
    assert failed == {
        "error_type": "ToolFailed",
        "message": "tool 'explode' failed with OSError; see the worker's log for where",
    }
    assert report.sound, report.problems()
    (child,) = segments(report, "hand")
    assert (child.status_code, child.attributes[names.ERROR_TYPE]) == ("error", "ToolFailed")
    assert [span.status_code for span in segments(report, "boss")] == ["unset", "unset"]


def test_unknown_agent_on_the_workers_side(crew: Crew) -> None:
    """A hand-off to a queue whose worker lacks that agent ends as `Failed` at the sender, which says so."""
    outcome, report = crew.run("lost")
    assert report.unified, report.problems()
    assert report.sound, report.problems()
    assert isinstance(outcome, Done)
    kind, message = outcome.value
    assert kind == "UnknownAgent"
    assert "has no agent 'missing'; it has " in message


def test_unknown_agent_as_the_root(crew: Crew) -> None:
    """A run of an agent that no worker has ends as `Failed`, not in silence."""
    outcome = crew.end(crew.ops.send("missing", host="db-7"))
    assert isinstance(outcome, Failed)
    assert outcome.error_type == "UnknownAgent"


def test_a_plain_celery_message_starts_a_run(crew: Crew, key: str) -> None:
    """A task sent without Handrail runs the agent: other teams' producers need not change."""
    crew.app.send_task("scout", kwargs={"host": key}, queue=crew.queue("scout"))
    wait_until(lambda: crew.effects(key) == 1, what="the effect")
