"""What is going on around a run: queues, workers and their last words, what a message carried, who traces."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from handrail_harness.errors import SourceError
from handrail_harness.printable import printable
from handrail_harness.rules.handoffs import message_id_of

if TYPE_CHECKING:
    from handrail_harness.rules import Clue
    from handrail_harness.spans import LogEvent, Span
    from handrail_harness.stack.workers import Worker
    from handrail_harness.testing.applications import Application
    from handrail_harness.testing.ground import Ground
    from handrail_harness.testing.messages import SeenHeader
    from handrail_harness.testing.tiers import Tier
    from handrail_harness.testing.workers import Workers

_LOG_LINES = 5
_TRACES = 50
"""So many of the latest traces are looked through for a receipt."""


class Surroundings:
    """What can be asked about one session when a run of it does not come to rest, or is broken."""

    def __init__(self, ground: Ground, workers: Workers, application: Application | None) -> None:
        self._ground = ground
        self._workers = workers
        self._application = application

    def clues(self) -> dict[str, Clue]:
        """Return what to ask, by a name for each."""
        clues: dict[str, Clue] = {}
        if self._application is not None:
            clues["queues"] = _queues(self._ground.tier, self._application)
        if (threads := self._workers.threads) is not None:
            clues["worker"] = lambda: [f"threads of this process, consuming {', '.join(threads.queues)}"]
        for worker in self.workers:
            clues[f"worker {worker.hostname}"] = _worker(worker)
        return clues

    @property
    def workers(self) -> Sequence[Worker]:
        """The worker processes that were started for runs, and for this test."""
        return (*self._workers.serving, *self._workers.guests)

    def headers_of(self, message_id: str) -> SeenHeader | None:
        """Return the trace context of a message that a thread of this process took, `None` for others."""
        return self._workers.messages.of(message_id) if message_id else None

    def receipts_elsewhere(self, trace_ids: Collection[str]) -> Mapping[str, Span]:
        """Return the receipts in the latest traces other than these, by message id.

        Instrumentation that records no lineage leaves nothing else that leads from a run to a branch torn off it.
        """
        source = self._ground.source
        found: dict[str, Span] = {}
        try:
            for trace in source.traces(_TRACES):
                if trace.trace_id not in trace_ids:
                    receipts = (span for span in source.spans(trace.trace_id) if span.kind == "consumer")
                    found |= {message_id_of(span): span for span in receipts}
        except SourceError:
            pass  # what is told of the run is told without
        found.pop("", None)
        return found

    def trace(self, trace_id: str) -> tuple[tuple[Span, ...], tuple[LogEvent, ...]]:
        """Return the spans and events of any trace; nothing where it cannot be read."""
        source = self._ground.source
        try:
            return tuple(source.spans(trace_id)), tuple(source.events(trace_id))
        except SourceError:
            return (), ()

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue of this session's database; 0 where that cannot be told."""
        return self._ground.waiting(queue)

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
        return self._ground.watches_application


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
