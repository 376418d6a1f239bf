"""What the fixture `handrail` is: one stack for the session, workers on it, and the runs of each test."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import set_span_in_context

from handrail_harness.errors import RunAssertion, StackError
from handrail_harness.spans import Span
from handrail_harness.stack.workers import Worker
from handrail_harness.testing.applications import Application, find_application
from handrail_harness.testing.eager import refuse_eager
from handrail_harness.testing.ground import Ground
from handrail_harness.testing.importpath import import_path
from handrail_harness.testing.runs import Run
from handrail_harness.testing.surroundings import Surroundings
from handrail_harness.testing.tiers import choose
from handrail_harness.testing.workers import Workers

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from handrail_harness.rules import Report
    from handrail_harness.sources.base import Source
    from handrail_harness.stack.service import Broker
    from handrail_harness.testing.shared import Shared

T = TypeVar("T")
_POLL = 0.1  # seconds


class Handrail:
    """A stack for a test session; a context manager. The environment of this process is left alone.

    `tier` is one of `thread`, `process`, `containers`, `external`, or empty for what is available. `application`
    is what is tested: `module:attribute` (from `folder`), an `Agents`, a Celery app, or `None` for the only app
    with tasks in this process. `patience` is how many seconds a run may take to come to rest. Raises `StackError`.
    """

    def __init__(
        self,
        tier: str = "",
        *,
        application: object = None,
        folder: Path | None = None,
        source: str = "",
        patience: float = 10.0,
        shared: Shared | None = None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.patience = patience
        self.test = ""
        """The id of the test that is running."""
        self._ground = Ground(choose(tier, source=source, session=self.id, shared=shared), self.id)
        self._workers = Workers(self._ground.tier, self.environ)
        self._named = application
        self._folder = folder or Path.cwd()
        self._application: Application | None = None
        self._runs: list[Run] = []

    # --- The stack ---

    @property
    def tier(self) -> str:
        """Name of the tier in use."""
        return self._ground.tier.name

    @property
    def redis_url(self) -> str:
        """URL of this session's Redis database, password included; empty without a Redis."""
        return self._ground.tier.redis_url

    @property
    def source(self) -> Source:
        """The spans of all processes, as `check` and `investigate` read them."""
        return self._ground.source

    @property
    def swept(self) -> Sequence[str]:
        """What sessions that were killed had left behind, removed at this one's start; a line for each."""
        return tuple(self._ground.swept)

    @property
    def tracer_provider(self) -> TracerProvider:
        """An SDK provider whose spans are seen: for instrumentors that would otherwise take the global one."""
        return self._ground.collector.tracer_provider

    @property
    def broker(self) -> Broker | None:
        """The broker, where this process started it; faults restart and pause it."""
        return self._ground.tier.broker

    @property
    def stack(self) -> Handrail:
        """What `Faults` stands on: `environ()` and `broker` of this session."""
        return self

    def faults_folder(self) -> Path:
        """Return the folder that tells workers which faults to act out; from now on they are started with it."""
        return self._workers.faults_folder()

    @property
    def quiet(self) -> float:
        """Seconds without a new span after which a run counts as at rest."""
        return self._ground.quiet

    def watch_worker(self, worker: Worker) -> None:
        """Leave its queues to a worker that somebody else starts, such as `Faults`; failures tell of it, too."""
        self._workers.welcome(worker)

    def environ(self) -> dict[str, str]:
        """Return the variables that point a process at the stack, and let it import what this one can."""
        application = self._application
        if application is None and self._named:
            application = find_application(self._named, self._folder)
        results = application is not None and application.keeps_results and self._ground.tier.owned
        backend = {"CELERY_RESULT_BACKEND": self._ground.tier.broker_url} if results else {}
        return {**import_path(), **backend, **self._ground.environ()}

    def worker(
        self, app: str, queues: Sequence[str] = (), *, env: Mapping[str, str] | None = None, **options: Any
    ) -> Worker:
        """Start a worker process on the stack and wait until it is ready; it is stopped with the session.

        Takes what `handrail_harness.stack.Worker` takes; raises `StackError` when it does not start, and in tier
        `thread`, where workers are threads.
        """
        refuse_eager()
        return self._workers.start(app, queues, env or {}, options)

    # --- Runs ---

    def send(self, name: str, /, **arguments: Any) -> Run:
        """Start a run of the agent `name` and return at once; a worker is started if none has been.

        Raises what `ops.send` raises, and `StackError` where the application is not known or has no agents.
        """
        __tracebackhide__ = True
        application = self.use()
        if application.ops is None:
            raise StackError(
                f"the app {application.app.main!r} has no agents; use handrail.run(lambda: task.delay())"
            )
        run = self._new_run(name)
        run.job = application.ops.send(name, **arguments)
        run.trace_id, run.run_id = run.job.trace_id, run.job.run_id
        if not run.trace_id.strip("0"):
            raise RunAssertion(
                "nothing is traced (OTEL_SDK_DISABLED, or a sampler that drops); tests need spans"
            )
        return run

    @overload
    def run(self) -> Run: ...

    @overload
    def run(self, function: Callable[[], Any]) -> Run: ...

    def run(self, function: Callable[[], Any] | None = None) -> Run:
        """Do something as one run: `handrail.run(lambda: task.delay(1))`, or `with handrail.run() as run:`.

        Its root is a span of this test around the function, or the block; what is sent in there belongs to it.
        What the function returned is `run.returned`.
        """
        __tracebackhide__ = True
        if function is not None and not callable(function):
            raise TypeError(
                f"handrail.run() got {type(function).__name__}, and what made it was no part of the run; give it a "
                "function that sends, as in handrail.run(lambda: task.delay())"
            )
        self.use()
        run = self._new_run(self.test or "run")
        if function is not None:
            with run:
                run.returned = function()
        return run

    def use(self, application: object = None) -> Application:
        """Take `application` (default: the configured one) as what is tested, with a worker for it.

        Done by the first `send` or `run`. In tier `external` workers are up already, and none is started.
        """
        __tracebackhide__ = True
        refuse_eager()
        self._ground.tier.check()
        if self._application is None:
            found = find_application(self._named if application is None else application, self._folder)
            refuse_eager(found.app)
            if found.ops is not None and not self._ground.tier.redis_url:
                raise StackError(
                    "agents keep their journals in Redis, and there is none; install redis-server"
                )
            found.point_at(self._ground.tier.broker_url, self._ground.tier.redis_url)
            self._application = found
        self._ground.collector.watch()
        self._workers.serve(self._application)
        return self._application

    def check(self, trace_id: str, *, wait: float = 10.0) -> Report:
        """Return the report on a trace, or run, as soon as it is unified, at the latest after `wait` seconds.

        Raises `TraceNotFound` when nothing of it has arrived by then.
        """
        from handrail_harness.rules import settled

        refuse_eager()
        return settled(self.source, trace_id, wait=wait)

    def wait_for(
        self, trace_id: str, until: Callable[[Sequence[Span]], bool], *, timeout: float = 30.0
    ) -> Sequence[Span]:
        """Wait until the spans of a trace satisfy `until`, and return them.

        `until` is not asked before a first span has arrived. Raises `TimeoutError`, naming the spans
        that have, after `timeout` seconds.
        """
        refuse_eager()
        deadline = time.monotonic() + timeout
        while True:
            spans = self.source.spans(trace_id)
            if spans and until(spans):
                return spans
            if time.monotonic() >= deadline:
                names = ", ".join(sorted(span.name for span in spans)) or "none"
                raise TimeoutError(f"trace {trace_id} after {timeout:g} s has the spans: {names}")
            time.sleep(_POLL)

    # --- One test ---

    def begin_test(self, test: str) -> None:
        """Forget the runs of the test before."""
        self.test = test
        self._runs = []
        self._workers.begin_test()

    def assert_runs(self) -> None:
        """Assert that every run of this test is one unified tree."""
        __tracebackhide__ = True
        for run in list(self._runs):
            run.assert_unified()

    def runs(self) -> Sequence[Run]:
        """Return the runs that this test has used so far."""
        return tuple(run for run in self._runs if run.used())

    def end_test(self) -> None:
        """Drop messages that this test left in its queues, so that the next one does not meet them."""
        if self._runs:
            self._ground.drop_messages()

    # --- For runs and failures ---

    def note_use(self, run: Run) -> None:
        """Count a run as used by this test, also when an earlier one made it (a shared fixture)."""
        if run not in self._runs:
            self._runs.append(run)

    def enter_root(self, run: Run) -> Callable[[], None]:
        """Start the root span of a run and make it current; return what ends it."""
        if run.trace_id:
            raise RunAssertion(f"{run!r} has had its with block; start another run")
        span = self.tracer_provider.get_tracer("handrail.tests").start_span(
            f"test {run.title}", context=Context()
        )
        run.trace_id = f"{span.get_span_context().trace_id:032x}"
        token = otel_context.attach(set_span_in_context(span, Context()))

        def leave() -> None:
            otel_context.detach(token)
            span.end()

        return leave

    @property
    def surroundings(self) -> Surroundings:
        """What can be asked about queues, workers and messages around a run."""
        return Surroundings(self._ground, self._workers, self._application)

    def unknown_name(self, kind: str, name: str) -> str:
        """Return why no run of the application can have a step of this kind and name, `""` if one can."""
        return self._application.unknown_name(kind, name) if self._application is not None else ""

    # --- Beginning and end ---

    def start(self) -> Handrail:
        """Start the tier's stack; raises `StackError` with nothing left running."""
        try:
            self._ground.start()
        except BaseException as error:
            try:
                self.stop()
            except StackError as late:
                error.add_note(str(late))
            raise
        return self

    def stop(self) -> None:
        """Stop workers and stack; raises `StackError` when something is left behind. May be called twice."""
        running = self._workers.pids()
        problems = self._workers.stop()
        if self._application is not None:
            self._application.put_back()
            self._application = None
        problems += self._ground.stop(running)
        self._workers.close()
        if problems:
            raise StackError("the session left behind: " + "; ".join(problems))

    def __enter__(self) -> Handrail:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _new_run(self, title: str) -> Run:
        run = Run(self, title, patience=self.patience)
        self._runs.append(run)
        return run
