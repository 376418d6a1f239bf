"""A sender in this process, prefork workers with the agents of apps/crew.py, and the store to look at."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from handrail_agents import Agents, Job, Outcome
from handrail_harness.rules import Report, settled
from handrail_harness.sources import Source
from handrail_harness.spans import LogEvent, Span
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.workers import Worker, running
from handrail_propagation import conventions as names
from handrail_propagation import flush

from ...support.sender import traced_sender

APPS = Path(__file__).parent / "apps"
PATIENCE = 60.0  # seconds until a wait gives up; a wait that succeeds takes a fraction


class Crew:
    """The agents of `apps/crew.py` on queues of one test's own, a sender for them, and what they leave."""

    def __init__(self, stack: EmbeddedStack, source: Source, folder: Path, **env: str) -> None:
        self.prefix = f"crew-{secrets.token_hex(4)}-"
        self.app = Celery("sender", broker=stack.redis_url, set_as_current=False)
        self.ops = Agents(self.app, queue_prefix=self.prefix)
        self.redis: redis.Redis = redis.Redis.from_url(stack.redis_url, decode_responses=True)
        self.source = source
        self.workers: list[Worker] = []
        self._folder = folder
        self._env = {**stack.environ(), "TEST_QUEUE_PREFIX": self.prefix, **env}

    def worker(self, *agents: str, concurrency: int = 1, pool: str = "prefork") -> Worker:
        """Return a worker for the queues of these agents that has not been started yet."""
        log = self._folder / f"{self.prefix}{len(self.workers)}.log"
        worker = Worker(
            "crew:app",
            [self.queue(agent) for agent in agents],
            concurrency=concurrency,
            pool=pool,
            cwd=APPS,
            env=self._env,
            log_path=log,
        )
        self.workers.append(worker)
        return worker

    def queue(self, agent: str) -> str:
        """Queue of an agent."""
        return self.prefix + agent

    def waiting(self, agent: str) -> list[str]:
        """The messages in an agent's queue as they lie in Redis."""
        found: Any = self.redis.lrange(self.queue(agent), 0, -1)
        return list(found)

    def put(self, agent: str, *messages: str) -> None:
        """Put raw messages into an agent's queue."""
        self.redis.lpush(self.queue(agent), *messages)

    def run(self, agent: str, **arguments: Any) -> tuple[Outcome, Report]:
        """Run an agent; return the outcome, and the report as soon as the run is one tree."""
        job = self.ops.send(agent, **arguments)
        return self.end(job), self.report(job)

    def end(self, job: Job) -> Outcome:
        """Wait for a run's outcome."""
        return job.result(timeout=PATIENCE)

    def report(self, job: Job, *, spans: Callable[[Sequence[Span]], bool] = lambda _: True) -> Report:
        """Return the report on a run, once its spans are one tree and satisfy `spans`."""
        flush()
        deadline = time.monotonic() + PATIENCE
        while True:
            report = settled(self.source, job.trace_id, wait=10)
            if (report.unified and spans(report.forest.spans)) or time.monotonic() > deadline:
                return report
            time.sleep(0.05)

    def events(self, job_or_report: Job | Report, count: int) -> list[LogEvent]:
        """Return the decision events of a trace, once there are `count` of them."""

        def found() -> list[LogEvent]:
            events = self.source.events(job_or_report.trace_id)
            return [event for event in events if event.event_name == names.EVENT_DECISION]

        wait_until(lambda: len(found()) >= count, what=f"{count} decision events")
        return found()

    def through(self, worker: Worker, agent: str, messages: int) -> bool:
        """Whether a worker has received so many messages of an agent, and is done with all: none waits, none runs."""
        inspect = self.app.control.inspect([worker.hostname])
        received = worker.log().count(f"Task {agent}[")
        # In this order: what is reserved no more by the time of the second answer is in it as active
        return received >= messages and inspect.reserved() == inspect.active() == {worker.hostname: []}

    def effects(self, key: str) -> int:
        """How often a tool has run on `key`."""
        count: Any = self.redis.llen(f"{self.prefix}effects:{key}")
        return int(count)

    def let_go(self, key: str) -> None:
        """Let the tool `hold` go on."""
        self.redis.set(f"{self.prefix}go:{key}", "1", ex=600)

    def state(self, job: Job) -> str:
        """State of the root invocation in the journal."""
        return str(self.redis.hget(f"handrail:{{{job.run_id}}}:{job.run_id}", "state"))

    def close(self) -> None:
        """Leave nothing behind."""
        for worker in self.workers:
            worker.ask_to_stop()
        for worker in self.workers:
            worker.stop()
        keys: Any = self.redis.keys(f"{self.prefix}*")
        if keys:
            self.redis.delete(*keys)
        self.redis.close()
        self.app.close()


def wait_until(condition: Callable[[], bool], *, what: str) -> None:
    """Wait until the condition holds; fails with `what` when it does not in time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s"
        time.sleep(0.02)


def tools(report: Report, tool: str | None = None) -> list[Span]:
    """The `execute_tool` spans of a run, of one tool if named; never none."""
    found = [
        span
        for span in report.forest.spans
        if span.text(names.GEN_AI_OPERATION_NAME) == names.OPERATION_EXECUTE_TOOL
        and tool in (None, span.text(names.GEN_AI_TOOL_NAME))
    ]
    assert found, [span.name for span in report.forest.spans]
    return sorted(found, key=lambda span: span.start_unix_nano)


def segments(report: Report, agent: str) -> list[Span]:
    """The segments of an agent's invocations, in their order."""
    found = [
        span
        for span in report.forest.spans
        if span.kind == "internal"
        and span.text(names.GEN_AI_OPERATION_NAME) == names.OPERATION_INVOKE_AGENT
        and span.text(names.GEN_AI_AGENT_NAME) == agent
    ]
    return sorted(found, key=lambda span: span.start_unix_nano)


def record(**changes: Any) -> dict[str, Any]:
    """A decision record that is as it should be, but for the changes."""
    return {
        "intent": "see what happens",
        "why": "a test asked for it",
        "context_source": "operator",
        "risk": "write",
        "reversible": False,
    } | changes


def text(**arguments: Any) -> str:
    """A call's arguments as a model gives them."""
    return json.dumps(arguments)


@pytest.fixture(scope="module")
def sender(stack: EmbeddedStack) -> Iterator[None]:
    """Tracing of this process to the stack, so that a run's root is in the store, too."""
    with traced_sender(stack.otlp_endpoint):
        yield


@pytest.fixture(scope="module")
def source(stack: EmbeddedStack) -> Iterator[Source]:
    """The store, as `check` reads it."""
    reader = stack.source()
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def assembled(
    stack: EmbeddedStack, source: Source, sender: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Crew]]:
    """Make crews without workers; `env` reaches their workers."""
    made: list[Crew] = []

    def make(**env: str) -> Crew:
        made.append(Crew(stack, source, tmp_path_factory.mktemp("crew"), **env))
        return made[-1]

    yield make
    for crew in made:
        crew.close()


EVERYBODY = (
    *("planner", "scout", "scribe", "puppet", "hand", "boss", "lost", "missing", "stranger", "fickle"),
    *("impatient", "stubborn", "speechless", "brainless"),
)


@contextmanager
def at_work(crew: Crew, concurrency: int = 2) -> Iterator[Crew]:
    """All agents of a crew on one worker."""
    with running([crew.worker(*EVERYBODY, concurrency=concurrency)]):
        yield crew


@pytest.fixture(scope="module")
def crew(assembled: Callable[..., Crew]) -> Iterator[Crew]:
    """All agents on one worker with two pool children, for the tests of one module."""
    with at_work(assembled()) as ready:
        yield ready


@pytest.fixture
def key() -> str:
    """A name for the effects of one test."""
    return secrets.token_hex(4)


@pytest.fixture(autouse=True)
def _logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Add what the workers said to the report of a failed test."""
    yield
    made = request.node.funcargs.get("crew")
    for worker in made.workers if isinstance(made, Crew) else ():
        request.node.add_report_section("call", f"worker {worker.hostname}", worker.log(60))
