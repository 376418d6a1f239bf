"""Stops workers from taking messages of one queue, and lets them go on: Celery's own remote control."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.utils.nodenames import host_format

from handrail_harness.errors import StackError
from handrail_harness.stack.workers import Worker

_ANSWER = 20.0  # seconds
_ANYBODY = 1.0  # seconds, when it is not known who is there
# Seconds until a command is said again: on Redis a worker that is "ready" may not listen quite yet.
_AGAIN = 1.0


class Consumers:
    """Who consumes a queue. `workers` are those to ask; without them, whoever answers within a second."""

    def __init__(self, broker_url: str, queue: str, workers: Sequence[Worker] = ()) -> None:
        self.queue = queue
        self._app = Celery("handrail-faults", broker=broker_url, set_as_current=False)
        self._nodes = [host_format(worker.hostname) for worker in workers if worker.running]
        self._given = bool(workers)

    def stop(self) -> None:
        """Tell them to take no more messages; those that they have taken already are theirs."""
        if not self._given:
            self._nodes = self._who() or self._who()  # as for _AGAIN
        self._tell("cancel_consumer")

    def go_on(self) -> None:
        """Let them take messages again."""
        self._tell("add_consumer")

    def close(self) -> None:
        """Close the connections to the broker."""
        self._app.close()

    def _who(self) -> list[str]:
        """Return the workers that say that they consume the queue."""
        answers = self._app.control.inspect(timeout=_ANYBODY).active_queues() or {}
        return [node for node, queues in answers.items() if any(one["name"] == self.queue for one in queues)]

    def _tell(self, command: str) -> None:
        """Say a command, which may be heard twice, until all have answered it."""
        control: Any = self._app.control
        silent = set(self._nodes)
        deadline = time.monotonic() + _ANSWER
        while silent and time.monotonic() < deadline:
            replies = control.broadcast(
                command,
                arguments={"queue": self.queue},
                destination=sorted(silent),
                reply=True,
                timeout=_AGAIN,
                limit=len(silent),
            )
            silent -= {node for reply in replies or () for node, said in reply.items() if "ok" in said}
        if silent:
            raise StackError(
                f"worker {', '.join(sorted(silent))} did not answer {command} for queue {self.queue} within "
                f"{_ANSWER:g} s; is it running, with remote control enabled?"
            )
