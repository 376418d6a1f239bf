"""Agents in a line on one worker a session, a sender in this process, and `faults` for each test."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from handrail_agents import Agents, Job, Outcome
from handrail_harness.errors import TraceNotFound
from handrail_harness.faults import Faults, Message
from handrail_harness.faults.workers import worker_options
from handrail_harness.forest import Forest
from handrail_harness.investigate import Investigation, investigate
from handrail_harness.rules import Report, settled
from handrail_harness.sources import Source
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.workers import Worker
from handrail_propagation import conventions as names
from handrail_propagation import flush

from ...support.sender import traced_sender
from .verdicts import Verdict

APPS = Path(__file__).parent / "apps"
PATIENCE = 40.0  # seconds until a wait gives up
TWICE = (4, 5)
"""Receipts of a run of which one message is delivered twice: the second delivery may wake `first` once more."""


class Line:
    """The agents of `apps/line.py` on queues of their own, a sender, and what a run leaves."""

    def __init__(self, stack: EmbeddedStack, source: Source, folder: Path) -> None:
        self.prefix = f"line-{secrets.token_hex(4)}-"
        self.stack = stack
        self.source = source
        self.folder = folder
        self.app = Celery("sender", broker=stack.environ()["CELERY_BROKER_URL"], set_as_current=False)
        self.ops = Agents(self.app, queue_prefix=self.prefix, journal=stack.redis_url)
        self.workers: list[Worker] = []

    @property
    def options(self) -> dict[str, Any]:
        """What a worker of this line is started with, beside its app and queues."""
        log = self.folder / f"{self.prefix}{len(self.workers)}.log"
        env = {"TEST_QUEUE_PREFIX": self.prefix, "TEST_FOLDER": str(self.folder)}
        env["TEST_JOURNAL"] = self.stack.redis_url
        return {"cwd": APPS, "env": env, "log_path": log}

    def queue(self, agent: str) -> str:
        """Queue of an agent."""
        return self.prefix + agent

    def worker(self, *agents: str) -> Worker:
        """Start a worker for these agents, in which the faults of `folder` act."""
        acting, own = worker_options(self.folder), self.options
        env = {**self.stack.environ(), **acting["env"], **own.pop("env")}
        queues = [self.queue(agent) for agent in agents]
        worker = Worker("line:app", queues, env=env, arguments=acting["arguments"], **own)
        self.workers.append(worker)
        return worker.start()

    def send(self, **arguments: Any) -> tuple[Job, str]:
        """Start a run of `first`; return it with the key of its effect."""
        key = secrets.token_hex(4)
        return self.ops.send("first", key=key, **arguments), key

    def begun(self, key: str) -> bool:
        """Whether the tool `look` of a run has begun."""
        return (self.folder / f"{key}.begun").exists()

    def recorded(self, job: Job, *span_names: str) -> bool:
        """Whether spans of these names, without the prefix of the queues, are in the store."""
        found = {span.name.replace(self.prefix, "") for span in self.source.spans(job.trace_id)}
        return found.issuperset(span_names)

    def run_of(self, message: Message) -> str:
        """Id of the run that a held message belongs to."""
        return str(message.headers[names.HEADER_HANDRAIL]["run"])

    def somebody_elses(self) -> str:
        """A traceparent of a trace that is in nobody's store."""
        return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"

    def let_go(self, key: str) -> None:
        """Let the tool `look` go on."""
        (self.folder / f"{key}.go").touch()

    def effects(self, key: str) -> int:
        """How often the effect of a run has happened."""
        path = self.folder / f"{key}.effects"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def end(self, job: Job) -> Outcome:
        """Wait for the outcome of a run."""
        return job.result(timeout=PATIENCE)

    def report(self, job: Job) -> Report:
        """The report on a run, which must become one unified tree."""
        flush()
        report = settled(self.source, job.trace_id, wait=PATIENCE)
        assert report.unified, report.findings
        return report

    def expect(
        self, job: Job, verdict: Verdict, *, receipts: int | tuple[int, ...], at: str = "second"
    ) -> Investigation:
        """Wait until `receipts` deliveries (one of these numbers) of a run are recorded, and it is judged exactly so.

        `at` is the agent that is hit. Findings are those of `investigate`, among them the ones of `check`; invariants
        are `check`'s. Fails with what was found in the end.
        """
        counts = (receipts,) if isinstance(receipts, int) else receipts
        findings = sorted((name, span.replace("X", at)) for name, span in verdict.findings)
        flush()
        deadline = time.monotonic() + PATIENCE
        seen = "no span"
        while time.monotonic() < deadline:
            with suppress(TraceNotFound):
                investigation = investigate(self.source, job.trace_id)
                report = investigation.report
                made = [(one.name, one.span.name.replace(self.prefix, "")) for one in investigation.findings]
                received = sum(span.kind == "consumer" for span in report.forest.spans)
                broken = {one.invariant for one in report.breaches}
                if received in counts and (sorted(made), broken) == (findings, set(verdict.breaks)):
                    return investigation
                texts = [f"{one.name} at {one.span.name}: {one.detail}" for one in investigation.findings]
                seen = "\n".join([f"{received} receipts", *texts, *report.problems(), render(report.forest)])
            time.sleep(0.05)
        raise AssertionError("\n".join([seen, *(worker.log(40) for worker in self.workers)]))

    def close(self) -> None:
        """Stop the workers."""
        for worker in self.workers:
            worker.ask_to_stop()
        for worker in self.workers:
            worker.stop()
        self.app.close()


def render(forest: Forest) -> str:
    """The spans as an indented list, for a failed test."""
    return "\n".join(
        f"{'  ' * depth}{span.name} [{span.kind}] {span.trace_id[:6]}/{span.span_id[:6]}"
        for span, _, depth in forest.walk()
    )


@pytest.fixture(scope="session")
def made() -> Iterator[list[Line]]:
    """The line of this session, once a module has asked for it; its worker stops in the end."""
    lines: list[Line] = []
    yield lines
    for line in lines:
        line.close()
        line.source.close()


@pytest.fixture(scope="module")
def line(stack: EmbeddedStack, made: list[Line], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """`first` and `second` on one worker, the same for all modules, and a sender in this process that is traced."""
    with traced_sender(stack.otlp_endpoint):
        if not made:
            made.append(Line(stack, stack.source(), tmp_path_factory.mktemp("line")))
            made[0].worker("first", "second")
        yield made[0]


@pytest.fixture
def faults(line: Line) -> Iterator[Faults]:
    """The verbs, on the line of this module; undone after the test."""
    with Faults(line.stack, folder=line.folder) as injector:
        yield injector


@pytest.fixture(autouse=True)
def _logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Add what the workers said, and the faults injected, to the report of a failed test."""
    yield
    made = request.node.funcargs.get("line")
    for worker in made.workers if isinstance(made, Line) else ():
        request.node.add_report_section("call", f"worker {worker.hostname}", worker.log(60))
    if (injector := request.node.funcargs.get("faults")) is not None:
        request.node.add_report_section("call", "faults", str(injector))
