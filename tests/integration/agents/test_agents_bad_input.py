"""What is wrong from the start: names, arguments, addresses, messages, models, code. One clear line each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from handrail_agents import (
    Agents,
    BrokerError,
    Done,
    Failed,
    InvalidArguments,
    JournalError,
    Run,
    UnknownAgent,
)
from handrail_harness.stack.redis import RedisServer
from handrail_harness.stack.workers import running
from handrail_propagation import ConfigurationError
from handrail_propagation import conventions as names

from .conftest import PATIENCE, Crew, record, text, wait_until

pytestmark = pytest.mark.integration
NOWHERE = "redis://:hidden-password@127.0.0.1:1/0"


@pytest.fixture
def declared(sender: None, redis_url: str) -> Iterator[Agents]:
    """A system with one agent that this process knows, on a broker that works."""
    app = Celery("declared", broker=redis_url, set_as_current=False)
    ops = Agents(app, queue_prefix="declared-")

    @ops.agent
    def scout(run: Run, host: str, depth: int = 1) -> str:
        return host

    yield ops
    app.close()


def test_unknown_agent_at_the_sender(declared: Agents) -> None:
    """A misspelt name is refused where it is written, with what was probably meant."""
    with pytest.raises(UnknownAgent, match="there is no agent 'scuot'; did you mean scout"):
        declared.send("scuot", host="db-7")
    with pytest.raises(UnknownAgent, match="there are scout"):
        declared.send("x")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "agent 'scout': host: Field required"),
        ({"host": "db-7", "depth": "2"}, "depth: Input should be a valid integer"),
        ({"host": "db-7", "hots": "db-7"}, "hots: Extra inputs are not permitted"),
        ({"host": object()}, "an argument has no JSON form"),
    ],
)
def test_arguments_that_do_not_fit_at_the_sender(
    declared: Agents, arguments: dict[str, Any], said: str
) -> None:
    """Nothing is sent that the agent could not take."""
    with pytest.raises(InvalidArguments, match=said):
        declared.send("scout", **arguments)


def test_argument_that_does_not_fit_at_the_worker(crew: Crew) -> None:
    """A sender that knows only the name cannot check; the worker does, and the run ends there."""
    outcome, report = crew.run("scout", host=7)
    assert outcome == Failed("InvalidArguments", "agent 'scout': host: Input should be a valid string")
    assert report.unified
    assert [span.kind for span in report.forest.spans].count("consumer") == 1


def test_journal_that_does_not_answer(sender: None) -> None:
    """An unreachable Redis is one error that names it without its password, in seconds."""
    app = Celery("nowhere", broker=NOWHERE, set_as_current=False)
    before = time.monotonic()
    with pytest.raises(JournalError, match=r"the journal at redis://127.0.0.1:1/0 does not answer") as caught:
        Agents(app).send("scout", host="db-7")
    assert time.monotonic() - before < 20  # not a speed test: kombu's own default would try for ever
    assert "hidden-password" not in str(caught.value)


def test_broker_that_does_not_answer(sender: None, redis_url: str) -> None:
    """The same where the journal is elsewhere and only the broker is away."""
    app = Celery("nowhere", broker=NOWHERE, set_as_current=False)
    before = time.monotonic()
    with pytest.raises(BrokerError, match=r"the broker at redis://127.0.0.1:1/0 did not take the message"):
        Agents(app, journal=redis_url).send("scout", host="db-7")
    assert time.monotonic() - before < 20


def test_no_journal_at_all(sender: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another broker than Redis, where the journal is has to be said."""
    monkeypatch.delenv("HANDRAIL_REDIS_URL", raising=False)
    app = Celery("rabbit", broker="amqp://guest@127.0.0.1:1//", set_as_current=False)
    with pytest.raises(ConfigurationError, match="set journal= or HANDRAIL_REDIS_URL"):
        Agents(app).send("scout", host="db-7")


def test_journal_url_that_is_none(sender: None) -> None:
    """A misspelt journal URL is said as such."""
    app = Celery("typo", broker=NOWHERE, set_as_current=False)
    with pytest.raises(JournalError, match="is no Redis URL"):
        Agents(app, journal="http://127.0.0.1/").send("scout", host="db-7")


def test_eager_mode_is_refused(sender: None, declared: Agents) -> None:
    """task_always_eager would run agents without a message: refused when declared, and when switched on later."""
    app = Celery("eager", broker=NOWHERE, set_as_current=False)
    app.conf.task_always_eager = True
    with pytest.raises(ConfigurationError, match="task_always_eager"):
        Agents(app)
    declared.app.conf.task_always_eager = True
    with pytest.raises(ConfigurationError, match="task_always_eager"):
        declared.send("scout", host="db-7")


def test_running_an_agents_task_in_place_is_refused(declared: Agents) -> None:
    """`task.apply()` does the same by another way, and is refused, too."""
    result = declared.app.tasks["scout"].apply(kwargs={"host": "db-7"})
    assert result.failed()
    assert "task_always_eager" in str(result.result)


def test_two_declarations_of_one_name(declared: Agents) -> None:
    """The second would take the first one's messages."""
    with pytest.raises(ConfigurationError, match="agent 'scout' is declared twice"):

        @declared.agent(name="scout")
        def another(run: Run) -> None: ...

    @declared.tool(risk="read")
    def look(host: str) -> str:
        return host

    with pytest.raises(ConfigurationError, match="tool 'look' is declared twice"):
        declared.tool(risk="read", name="look")(look.function)


def test_timeout_names_the_queue(assembled: Callable[..., Crew]) -> None:
    """Waiting for a run that no worker takes says which queue nobody serves."""
    crew = assembled()
    job = crew.ops.send("scout", host="db-7")
    with pytest.raises(TimeoutError, match=f"is one started with -Q {crew.queue('scout')}"):
        job.result(timeout=0.1)
    assert job.outcome() is None


def test_timeout_of_a_run_that_goes_on(crew: Crew, key: str) -> None:
    """A run that is under way and slow is told apart from one that nobody took."""
    job = crew.ops.send("hand", calls=[["hold", {"key": key}]])
    wait_until(lambda: crew.effects(key) == 1, what="the run's start")
    with pytest.raises(TimeoutError, match=r"is not over after 0\.1 s; it goes on"):
        job.result(timeout=0.1)
    crew.let_go(key)
    assert crew.end(job) == Done(["held"])


@pytest.mark.parametrize(
    ("agent", "arguments", "error_type", "said"),
    [
        ("stranger", {}, "ConfigurationError", "delegates to 'scout', which is not in its delegates="),
        (
            "puppet",
            {"script": [[["look", text(key="k")]]] * 9, "max_turns": 3},
            "TurnLimit",
            "raise max_turns=",
        ),
        ("speechless", {}, "ModelError", "model 'broken' failed with ValueError"),
        ("brainless", {}, "ConfigurationError", "has no model; give one to @ops.agent(model=)"),
        ("hand", {"calls": [["explode", {"text": "x"}]]}, "ToolFailed", "tool 'explode' failed with OSError"),
        ("hand", {"calls": [["nothing", {}]]}, "UnknownTool", "the tools are: note, look, "),
    ],
)
def test_what_ends_a_run(
    crew: Crew, agent: str, arguments: dict[str, Any], error_type: str, said: str
) -> None:
    """Mistakes in an agent's code and failures of its model end the run, in one line; its spans are one tree."""
    outcome, report = crew.run(agent, **arguments)
    assert isinstance(outcome, Failed)
    assert outcome.error_type == error_type
    assert said in outcome.message
    assert report.unified, report.problems()
    assert "canary" not in outcome.message + repr(report.forest.spans) + crew.workers[0].log()


def test_code_that_is_not_pure(crew: Crew, key: str) -> None:
    """An agent that asks for something else after its wake is stopped; its second choice does not run."""
    outcome, _ = crew.run("fickle", key=key)
    assert isinstance(outcome, Failed)
    assert outcome.error_type == "NotReplayable"
    assert "code between journalled calls must be pure" in outcome.message
    assert crew.effects(key) == 1


def test_waiting_for_a_run_in_a_task_is_refused(crew: Crew) -> None:
    """`job.result()` in an agent would hold the worker that the run may need."""
    outcome, _ = crew.run("impatient")
    assert isinstance(outcome, Done)
    assert "delegate with run.delegate(...) instead" in outcome.value


ID = "0af7651916cd43dd8448eb211c80319c"
HOSTILE = [
    7,
    "start",
    [],
    {},
    {"v": 1},
    {"v": 2, "kind": "start", "run": ID, "invocation": ID},
    {"v": True, "kind": "start", "run": ID, "invocation": ID},
    {"v": 1, "kind": "approve", "run": ID, "invocation": ID},
    {"v": 1, "kind": ["start"], "run": ID, "invocation": ID},
    {"v": 1, "kind": "start", "run": ID.upper(), "invocation": ID},
    {"v": 1, "kind": "start", "run": ID + "\n", "invocation": ID},
    {"v": 1, "kind": "start", "run": ID, "invocation": "*"},
    {"v": 1, "kind": "start", "run": ID, "invocation": {"$ne": ""}},
    {"v": 1, "kind": "start", "run": ID, "invocation": ID, "agent": "boss"},
    # Well-formed, of a run that the journal does not know
    {"v": 1, "kind": "start", "run": ID, "invocation": ID},
    {"v": 1, "kind": "wake", "run": ID, "invocation": ID},
]


def test_hostile_headers(crew: Crew, key: str) -> None:
    """A message whose header is not ours is dropped with a line in the log; the worker goes on with the next."""
    for value in HOSTILE:
        crew.app.send_task(
            "scout", kwargs={"host": key}, queue=crew.queue("scout"), headers={names.HEADER_HANDRAIL: value}
        )
    outcome = crew.end(crew.ops.send("scout", host=f"{key}-after"))
    assert outcome == Done(f"a look at {key}-after")
    wait_until(lambda: crew.workers[0].log().count("message dropped") >= len(HOSTILE), what="the drops")
    assert crew.effects(key) == 0
    assert crew.waiting("scout") == []


def test_message_of_another_agents_run(crew: Crew, key: str) -> None:
    """A header that is moved to another agent's queue does not run that agent on the run's behalf."""
    job = crew.ops.send("missing-queue", host=key)
    (raw,) = crew.waiting("missing-queue")
    headers = json.loads(raw)["headers"]
    crew.app.send_task(
        "scout",
        kwargs={"host": key},
        queue=crew.queue("scout"),
        headers={names.HEADER_HANDRAIL: headers[names.HEADER_HANDRAIL]},
    )
    assert crew.end(crew.ops.send("scout", host=f"{key}-after")) == Done(f"a look at {key}-after")
    wait_until(lambda: job.run_id in crew.workers[0].log(), what="the drop")
    assert crew.effects(key) == 0
    assert job.outcome() is None


def test_journal_that_is_full(assembled: Callable[..., Crew], key: str) -> None:
    """While the journal takes nothing, nothing is started; afterwards the run goes on by itself."""
    with RedisServer() as journal:
        crew = assembled(TEST_JOURNAL=journal.url)
        ops = Agents(crew.app, queue_prefix=crew.prefix, journal=journal.url)
        with running([crew.worker("hand")]), redis.Redis.from_url(journal.url) as client:
            calls = [["hold", {"key": key}], ["note", {"key": f"{key}-1"}]]
            job = ops.send("hand", calls=calls, decision=record())
            wait_until(lambda: crew.effects(key) == 1, what="the first step")
            client.config_set("maxmemory", 1)
            crew.let_go(key)
            wait_until(lambda: "goes back to its queue" in crew.workers[0].log(), what="the complaint")
            assert crew.effects(f"{key}-1") == 0
            client.config_set("maxmemory", 0)
            assert job.result(timeout=PATIENCE) == Done(["held", "line 1"])
        assert crew.effects(f"{key}-1") == 1
