"""The face of fault injection: every verb."""

from __future__ import annotations

import math
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from handrail_harness.errors import StackError
from handrail_harness.faults import processes, workers
from handrail_harness.faults.behaviour import SILENT, TWICE, UNAVAILABLE, Behaviour
from handrail_harness.faults.consumers import Consumers
from handrail_harness.faults.held import Held
from handrail_harness.faults.injected import Bites, Injected, Place
from handrail_harness.faults.injector import Injector
from handrail_harness.faults.inside import act_in_producer
from handrail_harness.faults.queues import open_queues
from handrail_harness.faults.relay import Relay
from handrail_harness.faults.rules import Kind, Rule, Rules
from handrail_harness.stack.service import Broker
from handrail_harness.stack.workers import Worker


class Stack(Protocol):
    """What `Faults` needs of a stack, embedded or in containers."""

    def environ(self) -> dict[str, str]:
        """Variables that point a process at the stack; CELERY_BROKER_URL among them."""
        ...

    @property
    def broker(self) -> Broker | None:
        """The broker, if it was started here and can be stopped and paused; else `None`."""
        ...


class Faults(Injector):
    """Faults in one test: call a verb, and it is undone at the end of the test; a context manager.

    `stack` is what the run is on. `folder` is where producers and workers are told what to do: workers that several
    tests share are started with `worker_options(folder)` and outlive the `Faults` of one test. Without it the folder
    is this object's own, and `worker()` starts workers that look there. `relay` is what such workers export to.

    At the end, a fault that never took effect is `FaultDidNotBite`: a test that expects damage from it proves nothing.
    """

    def __init__(self, stack: Stack, *, folder: Path | None = None, relay: Relay | None = None) -> None:
        super().__init__()
        self.stack = stack
        self._own_relay = relay is None
        self._relay = relay
        self._own_folder = folder is None
        self._rules = Rules(folder or Path(tempfile.mkdtemp(prefix="handrail-faults-")))
        self._workers: list[Worker] = []
        self._restore_producer = act_in_producer(self._rules)

    # --- publish side ----------------------------------------------------------------------------------------------

    def drop_header(
        self, header: str = "traceparent", *, task: str = "", queue: str = "", times: int = 1
    ) -> Injected:
        """Lose one header of a message in its producer: this process, or a worker that hands work on.

        `task` and `queue` say which messages (empty: any), `times` how many at most (0: all).
        """
        return self._header("drop_header", header, task, queue, times)

    def garble_header(
        self, header: str = "traceparent", *, task: str = "", queue: str = "", times: int = 1
    ) -> Injected:
        """Spoil the value of a header in the producer, so that no consumer can parse it. As `drop_header`."""
        return self._header("garble_header", header, task, queue, times)

    def oversize_header(
        self,
        header: str = "traceparent",
        *,
        size: int = 65536,
        task: str = "",
        queue: str = "",
        times: int = 1,
    ) -> Injected:
        """Make the value of a header `size` bytes long in the producer. As `drop_header`."""
        return self._header("oversize_header", header, task, queue, times, size=size)

    # --- in the broker ---------------------------------------------------------------------------------------------

    def hold(self, queue: str, *, workers: Sequence[Worker] = ()) -> Held:
        """Hold every message that comes to a queue from now on; `Held` has the verbs for what is held.

        `workers` are those that consume the queue; when they are not given, all workers on the broker are asked, which
        takes a second, or two when none says that it does. Raises `StackError` when one of them does not stop taking
        messages.
        """
        # A session of the pytest plugin starts its worker with its first run, and that one would not know of this.
        if not workers and (use := getattr(self.stack, "use", None)) is not None:
            use()
        url = self.stack.environ()["CELERY_BROKER_URL"]
        held = Held(queue, open_queues(url), Consumers(url, queue, workers), self._in_broker)
        self._record("hold", "broker", f"queue {queue}", lambda: held.bites, held.release)
        return held

    # --- worker side -----------------------------------------------------------------------------------------------

    def kill_child(self, worker: Worker, *, when: Callable[[], bool], timeout: float = 30.0) -> Injected:
        """SIGKILL the pool children of a worker as soon as `when()` is true; its main process replaces them.

        Raises `FaultDidNotBite` when `when()` is not true within `timeout` seconds.
        """
        what = f"worker {worker.hostname}"
        return self._done("kill_child", "worker", what, workers.kill_children(worker, when, timeout))

    def kill_worker(self, worker: Worker, *, when: Callable[[], bool], timeout: float = 30.0) -> Injected:
        """SIGKILL a worker and its pool children as soon as `when()` is true. As `kill_child`."""
        what = f"worker {worker.hostname}"
        return self._done("kill_worker", "worker", what, workers.kill(worker, when, timeout))

    def lose_ack(self, *, task: str = "", queue: str = "", times: int = 1) -> Injected:
        """Lose the acknowledgement of a message on its way to the broker, which delivers the message again."""
        return self._rule("lose_ack", "worker", _messages(task, queue), task=task, queue=queue, times=times)

    def recycle_children(self, app: str, queues: Sequence[str], **options: Any) -> Worker:
        """Start a worker whose pool children end after one task each. Takes what `Worker` takes."""
        return self._worker_with(
            "recycled", app, queues, {}, {"arguments": ["--max-tasks-per-child", "1"]}, options
        )

    def uninstrument(self, app: str, queues: Sequence[str], **options: Any) -> Worker:
        """Start a worker in which nothing traces: headers are neither read nor written, nothing is exported."""
        return self._worker_with("uninstrumented", app, queues, {}, {"env": workers.EXPORTS_NOTHING}, options)

    def offset_clock(self, app: str, queues: Sequence[str], *, seconds: float, **options: Any) -> Worker:
        """Start a worker that records times which are `seconds` late (early when negative)."""
        if not math.isfinite(seconds):
            raise ValueError(f"offset_clock(seconds={seconds}): give how many seconds its records are late")
        return self._worker_with("clock", app, queues, {"offset_ns": int(seconds * 1e9)}, {}, options)

    # --- telemetry side --------------------------------------------------------------------------------------------

    def refuse_exports(self, *, times: int = 1) -> Injected:
        """Answer 503 to the next exports of spans, and keep nothing of them; exporters try again.

        Exports of workers that `worker()` has started, or that export to `relay`. `times`: how many (0: all).
        """
        return self._export("refuse_exports", UNAVAILABLE, times)

    def delay_exports(self, seconds: float, *, times: int = 1) -> Injected:
        """Take the next exports, and answer `seconds` later. As `refuse_exports`."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"delay_exports({seconds}): give how many seconds answers take")
        return self._export("delay_exports", Behaviour(delay=seconds), times)

    def reject_spans(self, count: int = 1, *, times: int = 1) -> Injected:
        """Take the next exports but for their first `count` spans, for good (partial success). As `refuse_exports`."""
        if count < 1:
            raise ValueError(
                f"reject_spans({count}): give how many spans of each export are refused, 1 or more"
            )
        return self._export("reject_spans", Behaviour(rejects=count), times)

    def repeat_exports(self, *, times: int = 1) -> Injected:
        """Take the next exports and answer 503, so that they come again. As `refuse_exports`."""
        return self._export("repeat_exports", TWICE, times)

    def swallow_exports(self, *, times: int = 0) -> Injected:
        """Never answer exports, and keep nothing of them; all, unless told otherwise. As `refuse_exports`."""
        return self._export("swallow_exports", SILENT, times)

    # --- infrastructure --------------------------------------------------------------------------------------------

    def restart_broker(self, *, keep: bool = True) -> Injected:
        """Stop the broker and start it again on the same port; its messages stay with `keep`, else they are lost.

        Raises `StackError` for a broker that was not started here.
        """
        broker = self._broker()
        broker.restart(keep=keep)
        bites = Bites()
        bites.note(keep=int(keep))
        return self._done("restart_broker", "infrastructure", "the broker", bites)

    def pause_broker(self) -> Injected:
        """Let the broker hang, with its connections open, until this is undone."""
        broker = self._broker()
        broker.pause()
        return self._paused("pause_broker", "the broker", broker.resume)

    def pause_worker(self, worker: Worker) -> Injected:
        """Let a worker and its pool children hang until this is undone."""
        pids = processes.stop(worker.pid)
        return self._paused("pause_worker", f"worker {worker.hostname}", lambda: processes.go_on(pids))

    # --- around the verbs ------------------------------------------------------------------------------------------

    def worker(
        self, app: str, queues: Sequence[str] = (), *, env: Mapping[str, str] | None = None, **options: Any
    ) -> Worker:
        """Start a worker on the stack in which the verbs bite; it is stopped at the end. As `Worker`."""
        return self._start(app, queues, env or {}, options)

    @property
    def relay(self) -> Relay:
        """What workers export to, and what passes it on to the stack; started when it is first needed."""
        if self._relay is None:
            endpoint = self.stack.environ().get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
            if not endpoint:
                raise StackError(
                    "this stack names no address for exports (tier thread keeps spans in memory), so that none can "
                    "be broken; run with --handrail-tier=process for this test"
                )
            self._relay = Relay(endpoint)
            self._relay.__enter__()
        return self._relay

    def _restore(self) -> None:
        self._restore_producer()
        for worker in self._workers:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.stop()
        if self._relay is not None and self._own_relay:
            self._relay.__exit__(None, None, None)

    def _forget(self) -> None:
        for worker in self._workers:
            worker.remove_log()
        if self._own_folder:
            shutil.rmtree(self._rules.folder, ignore_errors=True)

    def _header(
        self, kind: Kind, header: str, task: str, queue: str, times: int, *, size: int = 0
    ) -> Injected:
        if not header.strip():
            raise ValueError(f"{kind}() needs the name of a header, such as 'traceparent'")
        what = f"{header} of {_messages(task, queue)}"
        return self._rule(
            kind, "producer", what, header=header, task=task, queue=queue, times=times, size=size
        )

    def _rule(self, kind: Kind, place: Place, what: str, *, times: int, **about: Any) -> Injected:
        _refuse_negative(kind, times)
        rule = Rule(secrets.token_hex(6), kind, times=times, **about)
        self._rules.add(rule)
        rules = self._rules
        return self._record(kind, place, what, lambda: rules.bites(rule), lambda: rules.remove(rule))

    def _worker_with(
        self,
        kind: Kind,
        app: str,
        queues: Sequence[str],
        about: dict[str, Any],
        needs: dict[str, Any],
        options: dict[str, Any],
    ) -> Worker:
        rule = Rule(secrets.token_hex(6), kind, **about)
        self._rules.add(rule)
        rules = self._rules
        env = {**needs.pop("env", {}), **workers.about(rule), **options.pop("env", {})}
        worker = self._start(
            app,
            queues,
            env,
            {**options, "arguments": [*needs.pop("arguments", ()), *options.pop("arguments", ())]},
        )
        what = f"worker {worker.hostname}" + (f", by {rule.offset_ns / 1e9:g} s" if rule.offset_ns else "")
        self._record(
            workers.VERBS[kind], "worker", what, lambda: rules.bites(rule), lambda: rules.remove(rule)
        )
        return worker

    def _start(
        self, app: str, queues: Sequence[str], env: Mapping[str, str], options: dict[str, Any]
    ) -> Worker:
        acting = workers.worker_options(self._rules.folder)
        arguments = [*acting["arguments"], *options.pop("arguments", ())]
        whole = {**self.stack.environ(), **self._exports(), **acting["env"], **env}
        worker = Worker(app, queues, env=whole, arguments=arguments, **options)
        self._workers.append(worker)
        if (session := getattr(self.stack, "watch_worker", None)) is not None:
            session(worker)  # a failed test tells its last words, too
        return worker.start()

    def _exports(self) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.relay.endpoint}

    def _export(self, verb: str, how: Behaviour, times: int) -> Injected:
        _refuse_negative(verb, times)
        bites, relay = Bites(), self.relay
        relay.spoil(how, times, bites)
        return self._record(verb, "telemetry", "exports of spans", lambda: bites, relay.heal)

    def _broker(self) -> Broker:
        broker = self.stack.broker
        if broker is None:
            raise StackError(
                "this broker was not started here, so it is not stopped here; use a stack of its own"
            )
        return broker

    def _paused(self, verb: str, what: str, resume: Callable[[], None]) -> Injected:
        bites = Bites()
        bites.note(paused=what)
        return self._record(verb, "infrastructure", what, lambda: bites, resume)


def _refuse_negative(verb: str, times: int) -> None:
    if times < 0:
        raise ValueError(f"{verb}(times={times}): give how many are hit at most, 0 for all")


def _messages(task: str, queue: str) -> str:
    of = f"messages of task {task}" if task else "any message"
    return f"{of} in queue {queue}" if queue else of
