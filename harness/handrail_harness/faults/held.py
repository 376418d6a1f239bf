"""Messages that are held between the broker and its consumers, for a test to look at and to change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from handrail_harness.errors import FaultDidNotBite
from handrail_harness.faults.consumers import Consumers
from handrail_harness.faults.injected import Bites
from handrail_harness.faults.queues import Message, Queues

_POLL = 0.02  # seconds

Record = Callable[[str, str, Bites], None]
"""Notes a verb, what it was aimed at, and its bites."""


class Held:
    """The messages of one queue, out of the broker; a context manager that releases them at its end.

    Oldest first in `messages`. Nothing reaches a worker before `release()`.
    """

    def __init__(self, queue: str, queues: Queues, consumers: Consumers, record: Record) -> None:
        self.queue = queue
        self.messages: list[Message] = []
        self.bites = Bites()
        self._queues = queues
        self._consumers = consumers
        self._record = record
        self._released = False
        consumers.stop()
        queues.wake()

    def wait(self, count: int = 1, *, timeout: float = 30.0) -> list[Message]:
        """Wait until `count` messages are held, and return all that are.

        Raises `FaultDidNotBite` after `timeout` seconds, saying what has come.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._take()
            if len(self.messages) >= count:
                return list(self.messages)
            if time.monotonic() >= deadline:
                found = ", ".join(message.task for message in self.messages) or "none"
                raise FaultDidNotBite(
                    f"hold (broker), queue {self.queue}: wanted {count} messages within {timeout:g} s, came: {found}"
                )
            time.sleep(_POLL)

    def edit(
        self, message: Message, headers: Mapping[str, Any] | None = None, *, body: bytes | None = None
    ) -> None:
        """Set headers of a held message, remove those given as `None`, replace its body."""
        for key, value in (headers or {}).items():
            if value is None:
                message.headers.pop(key, None)
            else:
                message.headers[key] = value
        if body is not None:
            message.body = body
        changed = ", ".join([*(headers or {}), *(["body"] if body is not None else [])])
        self._note("edit", f"{changed} of a message", message)

    def duplicate(self, message: Message, times: int = 1) -> list[Message]:
        """Add `times` copies right behind a held message, the same id in all; return them."""
        copies = [message.copy() for _ in range(times)]
        place = self._place(message) + 1
        self.messages[place:place] = copies
        self._note("duplicate", f"{times} more of a message", message)
        return copies

    def reorder(self, order: Sequence[Message] | None = None) -> None:
        """Deliver the held messages in `order`, newest first when it is not given."""
        wanted = list(reversed(self.messages)) if order is None else list(order)
        if sorted(map(id, wanted)) != sorted(map(id, self.messages)):
            raise ValueError(
                "reorder takes each held message exactly once; use lose() and duplicate() for the rest"
            )
        if len(wanted) < 2:
            raise FaultDidNotBite(
                f"reorder (broker), queue {self.queue}: {len(wanted)} message held; wait for two"
            )
        self.messages[:] = wanted
        self._note("reorder", "the order of messages", *wanted)

    def lose(self, message: Message) -> None:
        """Let a held message be gone for good."""
        del self.messages[self._place(message)]
        self._note("lose", "a message", message)

    def release(self) -> None:
        """Put what is held back into the queue and let the workers go on. The second time nothing happens."""
        if self._released:
            return
        self._released = True
        try:
            self._take()
            self._queues.put(self.queue, self.messages)
            self._consumers.go_on()
            self._queues.wake()
        finally:
            self._consumers.close()
            self._queues.close()

    def __enter__(self) -> Held:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _take(self) -> None:
        for message in self._queues.take(self.queue):
            self.messages.append(message)
            self.bites.note(message=message.id, task=message.task)

    def _place(self, message: Message) -> int:
        for place, one in enumerate(self.messages):
            if one is message:
                return place
        raise ValueError(f"message {message.id} is not held any more; take it from `messages`")

    def _note(self, verb: str, what: str, *messages: Message) -> None:
        bites = Bites()
        for message in messages:
            bites.note(message=message.id, task=message.task)
        self._record(verb, f"{what} in queue {self.queue}", bites)
