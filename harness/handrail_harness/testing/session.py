"""What the fixture `handrail` is: one stack for the session, workers on it, and the runs of each test."""

from __future__ import annotations

import secrets
import shutil
import tempfile
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
from handrail_harness.testing.collector import Collector
from handrail_harness.testing.eager import refuse_eager
from handrail_harness.testing.flushing import FlushingSource
from handrail_harness.testing.leftovers import SESSION_VARIABLE, Ledger, leftovers
from handrail_harness.testing.messages import Messages, SeenHeader
from handrail_harness.testing.runs import Run
from handrail_harness.testing.surroundings import clues_of
from handrail_harness.testing.threads import ThreadWorker
from handrail_harness.testing.tiers import choose

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from handrail_harness.rules import Clue, Report
    from handrail_harness.sources.base import Source
    from handrail_harness.stack.redis import RedisServer
    from handrail_harness.testing.shared import Shared

T = TypeVar("T")
_POLL = 0.1  # seconds
_QUIET_IN_MEMORY, _QUIET_EXPORTED = 0.05, 0.3  # seconds without a new span; exporters send every 0.1 s


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
        self._tier = choose(tier, source=source, session=self.id, shared=shared)
        self._named = application
        self._folder = folder or Path.cwd()
        self._application: Application | None = None
        self._collector: Collector | None = None
        self._source: Source | None = None
        self._thread_worker: ThreadWorker | None = None
        self._workers: list[Worker] = []
        self._served: list[Worker] = []
        self._runs: list[Run] = []
        self._ledger = Ledger(self.id)
        self._messages = Messages()
        self._faults_folder: Path | None = None

    # --- The stack ---

    @property
    def tier(self) -> str:
        """Name of the tier in use."""
        return self._tier.name

    @property
    def redis_url(self) -> str:
        """URL of this session's Redis database, password included; empty without a Redis."""
        return self._tier.redis_url

    @property
    def source(self) -> Source:
        """The spans of all processes, as `check` and `investigate` read them."""
        if self._source is None:
            raise StackError("the session has not been started")
        return self._source

    @property
    def tracer_provider(self) -> TracerProvider:
        """An SDK provider whose spans are seen: for instrumentors that would otherwise take the global one."""
        return self._collect().tracer_provider

    @property
    def broker(self) -> RedisServer | None:
        """The Redis, where this process started it; faults restart and pause it."""
        return self._tier.broker

    @property
    def stack(self) -> Handrail:
        """What `Faults` stands on: `environ()` and `broker` of this session."""
        return self

    def faults_folder(self) -> Path:
        """Return the folder that tells workers which faults to act out; from now on they are started with it."""
        if self._faults_folder is None:
            self._faults_folder = Path(tempfile.mkdtemp(prefix="handrail-faults-"))
            for worker in self._served:  # started without it; the next run starts another one
                worker.stop()
            self._served = []
        return self._faults_folder

    @property
    def quiet(self) -> float:
        """Seconds without a new span after which a run counts as at rest."""
        return _QUIET_EXPORTED if self._tier.worker_processes else _QUIET_IN_MEMORY

    def environ(self) -> dict[str, str]:
        """Return the variables that point a process at the stack."""
        return {**self._tier.environ(), SESSION_VARIABLE: self.id}

    def worker(
        self, app: str, queues: Sequence[str] = (), *, env: Mapping[str, str] | None = None, **options: Any
    ) -> Worker:
        """Start a worker process on the stack and wait until it is ready; it is stopped with the session.

        Takes what `handrail_harness.stack.Worker` takes; raises `StackError` when it does not start, and in tier
        `thread`, where workers are threads.
        """
        refuse_eager()
        worker = self._launch(app, queues, env or {}, options)
        self._served.append(worker)
        return worker.wait_ready()

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
        self._tier.check()
        if self._application is None:
            found = find_application(self._named if application is None else application, self._folder)
            refuse_eager(found.app)
            if found.ops is not None and not self._tier.redis_url:
                raise StackError(
                    "agents keep their journals in Redis, and there is none; install redis-server"
                )
            found.point_at(self._tier.broker_url, self._tier.redis_url)
            self._application = found
        self._collect().watch()
        self._serve(self._application)
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
        if self._runs and self._tier.owned:
            database = getattr(self._tier, "database", None)
            if database is not None and database.left():
                database.purge()

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

    def clues(self) -> dict[str, Clue]:
        """Return what tells about the surroundings of a run that does not come to rest."""
        return clues_of(self._tier, self._application, self._served, self._thread_worker)

    def headers_of(self, message_id: str) -> SeenHeader | None:
        """Return the trace context of a message that a thread of this process took, `None` for others."""
        return self._messages.of(message_id) if message_id else None

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue of this session's database; 0 where that cannot be told."""
        database = getattr(self._tier, "database", None)
        return database.length(queue) if database is not None and queue else 0

    def workers(self) -> Sequence[Worker]:
        """Return the worker processes that were started for runs."""
        return tuple(self._served)

    @property
    def instrumented(self) -> bool:
        """Whether our instrumentor, or the stock one, is active in this process."""
        from opentelemetry.instrumentation.celery import CeleryInstrumentor

        from handrail_propagation.instrumentor import HandrailCeleryInstrumentor

        kinds: tuple[Any, ...] = (HandrailCeleryInstrumentor, CeleryInstrumentor)
        return any(kind().is_instrumented_by_opentelemetry for kind in kinds)

    @property
    def watches_application(self) -> bool:
        """Whether an SDK provider of the application is seen in this process."""
        return self._collector is not None and self._collector.watches_application

    def unknown_name(self, kind: str, name: str) -> str:
        """Return why no run of the application can have an agent or a tool of this name, `""` if one can."""
        ops = self._application.ops if self._application is not None else None
        if ops is None or kind not in ("agent", "tool"):
            return ""
        known = (
            set(ops.agents)
            if kind == "agent"
            else {tool for one in ops.agents.values() for tool in one.tools}
        )
        if name in known:
            return ""
        import difflib

        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(sorted(known)) or 'none'}"
        return f"the application declares no {kind} {name!r}; {hint}"

    # --- Beginning and end ---

    def start(self) -> Handrail:
        """Start the tier's stack; raises `StackError` with nothing left running."""
        self._ledger.open()
        try:
            if self._tier.name == "containers":
                from testcontainers.core.labels import SESSION_ID

                self._ledger.note_containers(SESSION_ID)
            self._tier.start()
            if (url := self._tier.redis_url) and self._tier.owned:
                self._ledger.note_database(url)
            self._source = self._open_source()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop workers and stack; raises `StackError` when something is left behind. May be called twice."""
        expected_gone = [*self._tier.pids(), *(worker.pid for worker in self._workers if worker.running)]
        for worker in self._workers:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.stop()
        problems: list[str] = []
        if self._thread_worker is not None:
            problems += self._thread_worker.stop()
            self._messages.close()
            self._thread_worker = None
        if self._application is not None:
            self._application.put_back()
            self._application = None
        if self._source is not None:
            self._source.close()
        if self._collector is not None:
            self._collector.close()
        self._tier.stop()
        problems += leftovers(self.id, expected_gone)
        problems += [f"container {name}" for name in self._left_containers()]
        for worker in self._workers:
            worker.remove_log()
        self._workers, self._served = [], []
        self._ledger.close()
        if self._faults_folder is not None:
            shutil.rmtree(self._faults_folder, ignore_errors=True)
        if problems:
            raise StackError("the session left behind: " + "; ".join(problems))

    def __enter__(self) -> Handrail:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _left_containers(self) -> list[str]:
        if self._tier.name != "containers":
            return []
        from testcontainers.core.labels import SESSION_ID

        from handrail_harness.testing.leftovers import containers_of

        return containers_of(SESSION_ID)

    def _new_run(self, title: str) -> Run:
        run = Run(self, title, patience=self.patience)
        self._runs.append(run)
        return run

    def _collect(self) -> Collector:
        if self._collector is None:
            raise StackError("the session has not been started")
        return self._collector

    def _open_source(self) -> Source:
        self._collector = Collector(self._tier.otlp_endpoint, takes_logs=self._tier.takes_logs)
        if self._tier.name == "external":
            self._collector.watch_nothing()  # the application exports its own spans
        else:
            self._collector.lend()
        stored = self._tier.source()
        return self._collector.memory if stored is None else FlushingSource(stored, self._collector)

    def _serve(self, application: Application) -> None:
        """See to it that somebody takes the application's messages."""
        if not self._tier.worker_processes:
            if self._thread_worker is None:
                self._thread_worker = ThreadWorker(application)
                self._messages.watch()
            self._thread_worker.start()
        elif self._tier.name != "external" and not self._served:
            if not application.celery_name:
                raise StackError(
                    f"workers cannot import the app {application.app.main!r}: no module holds it; name it with "
                    "handrail_app = MODULE:ATTRIBUTE, or start them with handrail.worker()"
                )
            options = {"cwd": application.folder} if application.folder else {}
            self._served.append(
                self._launch(application.celery_name, application.queues(), {}, options).wait_ready()
            )

    def _launch(
        self, app: str, queues: Sequence[str], env: Mapping[str, str], options: dict[str, Any]
    ) -> Worker:
        if not self._tier.worker_processes:
            raise StackError(
                "tier thread has no worker processes; run with --handrail-tier=process for this test"
            )
        options.setdefault("concurrency", 2)
        results = self._application is not None and self._application.keeps_results and self._tier.owned
        backend = {"CELERY_RESULT_BACKEND": self._tier.broker_url} if results else {}
        variables = {**self.environ(), **backend}
        if self._faults_folder is not None:
            from handrail_harness.faults.workers import worker_options

            faulty = worker_options(self._faults_folder)
            variables |= faulty["env"]
            options["arguments"] = [*options.get("arguments", ()), *faulty["arguments"]]
        worker = Worker(app, queues, env={**variables, **env}, **options)
        self._workers.append(worker)
        return worker.launch()
