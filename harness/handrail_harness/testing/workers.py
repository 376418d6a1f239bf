"""Who takes the messages of a session's runs: worker processes on the stack, or threads of this process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from handrail_harness.errors import StackError
from handrail_harness.stack.workers import Worker
from handrail_harness.testing.applications import Application
from handrail_harness.testing.messages import Messages
from handrail_harness.testing.sharing import Sharing
from handrail_harness.testing.threads import ThreadWorker
from handrail_harness.testing.tiers import Tier


class Workers:
    """The workers of one session; `environ` gives the variables that point a process at its stack."""

    def __init__(self, tier: Tier, environ: Callable[[], Mapping[str, str]]) -> None:
        self._tier = tier
        self._environ = environ
        self._all: list[Worker] = []
        self._serving: list[Worker] = []
        self._automatic: Worker | None = None
        """The one that was started because there was none."""
        self._guests: list[Worker] = []
        self._sharing = Sharing(lambda: self._environ()["CELERY_BROKER_URL"])
        self._threads: ThreadWorker | None = None
        self._faults_folder: Path | None = None
        self.messages = Messages()
        """What threads of this process have taken."""

    @property
    def serving(self) -> Sequence[Worker]:
        """The worker processes that were started for runs."""
        return tuple(self._serving)

    @property
    def guests(self) -> Sequence[Worker]:
        """The worker processes that somebody else has started for the test that is running."""
        return tuple(self._guests)

    @property
    def threads(self) -> ThreadWorker | None:
        """The worker in threads of this process, in tier `thread`."""
        return self._threads

    def begin_test(self) -> None:
        """Forget the workers of others, and those that the test before has stopped or killed: the next run has one."""
        self._guests.clear()
        self._serving = [worker for worker in self._serving if worker.running]
        self._share()

    def welcome(self, guest: Worker) -> None:
        """Leave its queues to a worker that somebody else starts, until that has ended or the test has."""
        self._guests.append(guest)
        self._share()

    def serve(self, application: Application) -> None:
        """See to it that somebody takes the application's messages."""
        if not self._tier.worker_processes:
            if self._threads is None:
                self._threads = ThreadWorker(application)
                self.messages.watch()
            self._threads.start()
        elif self._tier.name != "external" and not self._serving:
            if not application.celery_name:
                raise StackError(
                    f"workers cannot import the app {application.app.main!r}: no module holds it; name it with "
                    "handrail_app = MODULE:ATTRIBUTE, or start them with handrail.worker()"
                )
            options = {"cwd": application.folder} if application.folder else {}
            self._automatic = self.start(application.celery_name, application.queues(), {}, options)
        self._share()

    def start(
        self,
        app: str,
        queues: Sequence[str],
        env: Mapping[str, str],
        options: dict[str, Any],
    ) -> Worker:
        """Start a worker process for runs and wait until it is ready; raises `StackError`."""
        if not self._tier.worker_processes:
            raise StackError(
                "tier thread has no worker processes; run with --handrail-tier=process for this test"
            )
        options.setdefault("concurrency", 2)
        variables = dict(self._environ())
        if self._faults_folder is not None:
            from handrail_harness.faults.workers import worker_options

            faulty = worker_options(self._faults_folder)
            variables |= faulty["env"]
            options["arguments"] = [*options.get("arguments", ()), *faulty["arguments"]]
        worker = Worker(app, queues, env={**variables, **env}, **options)
        self._all.append(worker)
        self._serving.append(worker.launch().wait_ready())
        self._share()
        return worker

    def _share(self) -> None:
        automatic = self._automatic if self._automatic in self._serving else None
        others = [worker for worker in self._serving if worker is not automatic]
        self._sharing.settle(automatic, [*self._guests, *others])

    def faults_folder(self) -> Path:
        """Return the folder that tells workers which faults to act out; from now on they are started with it."""
        if self._faults_folder is None:
            self._faults_folder = Path(tempfile.mkdtemp(prefix="handrail-faults-"))
            for worker in self._serving:  # started without it; the next run starts another one
                worker.stop()
            self._serving = []
        return self._faults_folder

    def pids(self) -> list[int]:
        """Return the worker processes that run."""
        return [worker.pid for worker in self._all if worker.running]

    def stop(self) -> list[str]:
        """Stop all of them; return what is left behind. May be called twice."""
        for worker in self._all:
            worker.ask_to_stop()
        for worker in self._all:
            worker.stop()
        left: list[str] = []
        if self._threads is not None:
            left = self._threads.stop()
            self.messages.close()
            self._threads = None
        return left

    def close(self) -> None:
        """Remove logs and folders; nothing can be asked about the workers any more."""
        for worker in self._all:
            worker.remove_log()
        self._all, self._serving = [], []
        if self._faults_folder is not None:
            shutil.rmtree(self._faults_folder, ignore_errors=True)
