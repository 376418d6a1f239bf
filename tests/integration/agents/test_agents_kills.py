"""Worker processes that are killed with signal 9 in the middle of a run: no effect twice, nobody waits for ever."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from handrail_agents import Done, Failed, InDoubt, Job
from handrail_harness.stack.workers import running
from handrail_propagation import conventions as names

from ...support.processes import kill
from .conftest import Crew, at_work, record, segments, tools, wait_until

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Sent:
    """A run that was sent, and the name of its effects."""

    job: Job
    key: str


@pytest.fixture(scope="module")
def crew(assembled: Callable[..., Crew], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """All agents on one worker that records before it acts: what a killed child has ended is not lost with it."""
    with at_work(assembled(HANDRAIL_SPOOL_DIR=str(tmp_path_factory.mktemp("spool")))) as ready:
        yield ready


@pytest.fixture(scope="module")
def sent(crew: Crew) -> dict[str, Sent]:
    """All runs in which a worker is killed, at once: the pool takes seconds to notice that a child is gone."""

    def send(tool: str, *, kills: int = 1, decision: dict[str, Any] | None = None) -> Sent:
        key = secrets.token_hex(4)
        calls = [
            ["note", {"key": f"{key}-1"}],
            [tool, {"key": key, "most": kills}],
            ["note", {"key": f"{key}-2"}],
        ]
        return Sent(crew.ops.send("hand", calls=calls, decision=decision or record()), key)

    key = secrets.token_hex(4)
    child = {"calls": [["fatal", {"key": key}]], "decision": record()}
    return {
        "child": Sent(crew.ops.send("boss", before=f"{key}-1", after=f"{key}-2", **child), key),
        "again": send("fatal_read", kills=1000),
        **{tool: send(tool) for tool in ("fatal", "fatal_idempotent", "fatal_read")},
    }


def effects(crew: Crew, key: str) -> list[int]:
    """How often happened what comes before the kill, the killed call, what comes after it."""
    return [crew.effects(name) for name in (f"{key}-1", key, f"{key}-2")]


def test_killed_in_an_effect(crew: Crew, sent: dict[str, Sent]) -> None:
    """A call that may have had its effect does not run again: the run ends as `InDoubt`, naming the call."""
    job, key = sent["fatal"].job, sent["fatal"].key
    outcome = crew.end(job)
    assert isinstance(outcome, InDoubt)
    assert (outcome.call.tool, outcome.call.touches) == ("fatal", (f"log://{key}",))
    assert effects(crew, key) == [1, 1, 0]
    report = crew.report(job, spans=lambda spans: sum("fatal" in span.name for span in spans) == 2)
    assert report.unified, report.problems()
    killed, span = tools(report, "fatal")
    assert killed.attributes[names.ABANDONED] is True
    assert killed.attributes[names.ERROR_TYPE] == names.ERROR_WORKER_LOST
    assert span.attributes[names.TOOL_DISPOSITION] == "in_doubt"
    assert span.attributes[names.TOOL_RESULT_STATUS] == "none"
    received = [span for span in report.forest.spans if span.kind == "consumer"]
    assert sorted(bool(span.attributes.get(names.ABANDONED)) for span in received) == [False, True]


def test_killed_in_an_effect_of_a_child(crew: Crew, sent: dict[str, Sent]) -> None:
    """Doubt about a child's call is the outcome of the whole run; the parent's later effect does not happen."""
    outcome = crew.end(sent["child"].job)
    assert isinstance(outcome, InDoubt)
    assert (outcome.call.agent, outcome.call.tool) == ("hand", "fatal")
    assert effects(crew, sent["child"].key) == [1, 1, 0]


@pytest.mark.parametrize("tool", ["fatal_idempotent", "fatal_read"])
def test_killed_in_what_may_run_again(crew: Crew, sent: dict[str, Sent], tool: str) -> None:
    """A tool that is idempotent, or only reads, runs again; what had been completed before it does not."""
    job, key = sent[tool].job, sent[tool].key
    assert crew.end(job) == Done(["line 1", "time 2", "line 1"])
    assert effects(crew, key) == [1, 2, 1]
    # The killed attempt is there, with what it had done: siblings under one send
    report = crew.report(job, spans=lambda spans: sum(span.kind == "consumer" for span in spans) == 2)
    assert report.unified, report.problems()
    attempts = [span for span in report.forest.spans if span.kind == "consumer"]
    assert [attempts[0].parent_span_id] * 2 == [span.parent_span_id for span in attempts]
    last = segments(report, "hand")[-1]
    assert last.attributes[names.RUN_SEGMENT] == 2


def test_killed_again_and_again(crew: Crew, sent: dict[str, Sent]) -> None:
    """A step that takes every worker with it is given up after three, not tried for ever."""
    assert crew.end(sent["again"].job) == Failed("WorkerLost", "the worker died 3 times in agent 'hand'")
    assert effects(crew, sent["again"].key) == [1, 3, 0]


def test_tool_that_ends_the_interpreter(crew: Crew, key: str) -> None:
    """`sys.exit()` in a tool is a tool that failed, not the end of the worker."""
    calls = [["leave", {"key": key}]]
    outcome = crew.end(crew.ops.send("hand", calls=calls, catch=True))
    assert outcome == Done(
        [["ToolFailed", "tool 'leave' failed with SystemExit; see the worker's log for where"]]
    )
    assert crew.effects(key) == 1


def test_whole_worker_killed(assembled: Callable[..., Crew], key: str) -> None:
    """When a worker and its children are killed while a parent is parked, another worker ends the run."""
    crew = assembled()
    job = crew.ops.send("boss", before=f"{key}-1", calls=[["hold", {"key": key}]], after=f"{key}-2")
    doomed = crew.worker("boss", concurrency=1)
    with running([doomed, crew.worker("hand")]):
        wait_until(lambda: crew.effects(key) == 1 and crew.state(job) == "parked", what="the child's work")
        doomed.kill()
        crew.let_go(key)
        with running([crew.worker("boss")]):
            assert crew.end(job) == Done(["line 1", ["held"], "line 1"])
    assert [crew.effects(name) for name in (f"{key}-1", f"{key}-2")] == [1, 1]


def test_killed_from_outside_while_it_waits(crew: Crew, key: str) -> None:
    """kill -9 of the pool children, as by the kernel's out-of-memory killer: the step runs again elsewhere."""
    job = crew.ops.send("hand", calls=[["hold", {"key": key}]])
    wait_until(lambda: crew.effects(key) == 1, what="the first attempt")
    kill(crew.workers[0].pool_pids())
    wait_until(lambda: crew.effects(key) == 2, what="the second attempt")
    crew.let_go(key)
    assert crew.end(job) == Done(["held"])
