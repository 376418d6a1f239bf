"""What is going on around a run that does not come to rest: queues, workers, their last words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from handrail_harness.printable import printable

if TYPE_CHECKING:
    from handrail_harness.rules import Clue
    from handrail_harness.stack.workers import Worker
    from handrail_harness.testing.applications import Application
    from handrail_harness.testing.threads import ThreadWorker
    from handrail_harness.testing.tiers import Tier

_LOG_LINES = 5


def clues_of(
    tier: Tier, application: Application | None, workers: Sequence[Worker], thread_worker: ThreadWorker | None
) -> dict[str, Clue]:
    """Return what to ask, by a name for each."""
    clues: dict[str, Clue] = {}
    if application is not None:
        clues["queues"] = _queues(tier, application)
    if thread_worker is not None:
        clues["worker"] = lambda: [f"threads of this process, consuming {', '.join(thread_worker.queues)}"]
    for worker in workers:
        clues[f"worker {worker.hostname}"] = _worker(worker)
    return clues


def _queues(tier: Tier, application: Application) -> Callable[[], Iterable[str]]:
    def ask() -> Iterable[str]:
        database = getattr(tier, "database", None)
        waiting = database.left() if database is not None else _counted(application)
        return [f"messages nobody has taken: {', '.join(waiting)}"] if waiting else ["all are empty"]

    return ask


def _counted(application: Application) -> list[str]:
    """Ask the broker through kombu, whatever it is."""
    found: list[str] = []
    with application.app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        for queue in application.queues():
            number = channel.queue_declare(queue, passive=True).message_count
            if number:
                found.append(f"{queue} ({number})")
    return found


def _worker(worker: Worker) -> Callable[[], Iterable[str]]:
    def ask() -> Iterable[str]:
        status = "is running" if worker.running else f"ended with status {worker.exit_status}"
        return [status, *(printable(line, 160) for line in worker.log(_LOG_LINES).splitlines())]

    return ask
