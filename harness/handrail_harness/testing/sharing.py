"""Leaves queues to the workers that a test starts beside the session's own: what these break is to break every time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from handrail_harness.faults.consumers import Consumers
from handrail_harness.stack.workers import Worker


class Sharing:
    """Which queues of the session's worker belong to workers of the test; `broker_url` is asked when one does."""

    def __init__(self, broker_url: Callable[[], str]) -> None:
        self._broker_url = broker_url
        self._worker: Worker | None = None
        self._left: dict[str, Consumers] = {}

    def settle(self, worker: Worker | None, guests: Iterable[Worker]) -> None:
        """Have a worker take its queues but for those of `guests` that have not ended. Called when either changes.

        Raises `StackError` when it does not answer.
        """
        if worker is not self._worker or worker is None or not worker.running:
            self._forget()
            self._worker = worker
        if worker is None or not worker.running:
            return
        taken = {
            queue for guest in guests if guest.exit_status is None for queue in guest.queues or worker.queues
        }
        for queue in taken.intersection(worker.queues) - self._left.keys():
            self._left[queue] = consumers = Consumers(self._broker_url(), queue, [worker])
            consumers.stop()
        for queue in self._left.keys() - taken:
            consumers = self._left.pop(queue)
            try:
                consumers.go_on()
            finally:
                consumers.close()

    def _forget(self) -> None:
        for consumers in self._left.values():
            consumers.close()
        self._left.clear()
