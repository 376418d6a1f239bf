"""Agents in a line, their workers and a sender in this process, on a stack of any kind; what a run of theirs leaves."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from celery import Celery

from handrail_agents import Agents, Done, Job, Outcome
from handrail_harness.errors import TraceNotFound
from handrail_harness.faults import Faults, Message
from handrail_harness.faults.workers import worker_options
from handrail_harness.forest import Forest
from handrail_harness.investigate import Investigation, investigate
from handrail_harness.rules import Report, settled
from handrail_harness.sources import Source
from handrail_harness.spans import Span
from handrail_harness.stack.service import Broker
from handrail_harness.stack.workers import Worker
from handrail_propagation import conventions as names
from handrail_propagation import flush

from ...support.sender import traced_sender
from .verdicts import VERDICTS, Verdict

APPS = Path(__file__).parent / "apps"
PATIENCE = 60.0  # seconds until a wait gives up
TWICE = (4, 5)
"""Receipts of a run of which one message is delivered twice: the second delivery may wake `first` once more."""


class Stack(Protocol):
    """What a line stands on."""

    @property
    def redis_url(self) -> str: ...

    @property
    def otlp_endpoint(self) -> str: ...

    @property
    def broker(self) -> Broker | None: ...

    def environ(self) -> dict[str, str]: ...

    def source(self) -> Source: ...


class WithBroker:
    """A stack with another broker than its own; journals stay where they are."""

    def __init__(self, stack: Stack, broker: Broker) -> None:
        self._stack = stack
        self.broker = broker
        self.redis_url = stack.redis_url
        self.otlp_endpoint = stack.otlp_endpoint

    def environ(self) -> dict[str, str]:
        """As the stack, with the other broker as Celery's."""
        return {**self._stack.environ(), "CELERY_BROKER_URL": self.broker.url}

    def source(self) -> Source:
        """As the stack."""
        return self._stack.source()


class Line:
    """The agents of `apps/line.py` on queues of their own, a sender, and what a run leaves."""

    application = "line:app"

    def __init__(self, stack: Stack, source: Source, folder: Path) -> None:
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
        return self.launch(*agents).wait_ready()

    def launch(self, *agents: str) -> Worker:
        """As `worker`, without waiting until it is ready."""
        acting, own = worker_options(self.folder), self.options
        env = {**self.stack.environ(), **acting["env"], **own.pop("env")}
        queues = [self.queue(agent) for agent in agents]
        worker = Worker(self.application, queues, env=env, arguments=acting["arguments"], **own)
        self.workers.append(worker)
        return worker.launch()

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

    def until(self, condition: Callable[[], object], *, what: str) -> None:
        """Wait until a condition is true."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.02)

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
        self,
        job: Job,
        verdict: Verdict,
        *,
        receipts: int | tuple[int, ...] | Callable[[list[Span]], bool],
        at: str = "second",
    ) -> Investigation:
        """Wait until `receipts` deliveries of a run are recorded, and it is judged exactly so.

        `receipts` is their number, one of several, or a function of their spans that says whether all are there.
        `at` is the agent that is hit. Findings are those of `investigate`, among them the ones of `check`; invariants
        are `check`'s. Fails with what was found in the end.
        """
        if callable(receipts):
            whole = receipts
        else:
            counts = (receipts,) if isinstance(receipts, int) else receipts
            whole = lambda spans: len(spans) in counts  # noqa: E731 - the same question, asked of a number
        findings = sorted((name, span.replace("X", at)) for name, span in verdict.findings)
        flush()
        deadline = time.monotonic() + PATIENCE
        seen = "no span"
        while time.monotonic() < deadline:
            with suppress(TraceNotFound):
                investigation = investigate(self.source, job.trace_id)
                report = investigation.report
                made = [(one.name, one.span.name.replace(self.prefix, "")) for one in investigation.findings]
                received = [span for span in report.forest.spans if span.kind == "consumer"]
                broken = {one.invariant for one in report.breaches}
                if whole(received) and (sorted(made), broken) == (findings, set(verdict.breaks)):
                    return investigation
                texts = [f"{one.name} at {one.span.name}: {one.detail}" for one in investigation.findings]
                seen = "\n".join(
                    [f"{len(received)} receipts", *texts, *report.problems(), render(report.forest)]
                )
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


def restarted(line: Line, faults: Faults) -> None:
    """A broker that comes back with its messages, on the same port, costs no span and no hand-off."""
    assert line.stack.broker is not None
    before = line.stack.broker.url
    with faults.pause_worker(line.workers[0]):  # so that the message is in the broker, and nothing on its way
        job, _ = line.send()
        faults.restart_broker()
    assert line.stack.broker.url == before
    assert line.end(job) == Done("noted")
    line.expect(job, VERDICTS["restart_broker"], receipts=3)


def paused(line: Line, faults: Faults, *, journals_elsewhere: bool) -> None:
    """A broker that hangs for a while costs no span and no hand-off."""
    job, key = line.send(wait=True)
    line.until(lambda: line.begun(key), what="the tool has not begun")
    with faults.pause_broker():
        line.let_go(key)
        if journals_elsewhere:  # only the message that wakes `first` has to wait
            line.until(lambda: line.effects(key), what="no effect while the broker hangs")
    assert line.end(job) == Done("noted")
    line.expect(job, VERDICTS["pause_broker"], receipts=3)


@contextmanager
def line_on(stack: Stack, folder: Path) -> Iterator[Line]:
    """A line whose `first` and `second` are on one worker, and a sender in this process that is traced."""
    with traced_sender(stack.otlp_endpoint):
        source = stack.source()
        line = Line(stack, source, folder)
        try:
            line.worker("first", "second")
            yield line
        finally:
            line.close()
            source.close()
