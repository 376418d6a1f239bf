"""Whom to believe: what the trace context of a message is worth, by the queue that it was taken from.

The queue is the one that this process consumes from, never what a message says of itself: on Redis its routing key
is part of what the producer wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, Literal, get_args

from handrail_propagation.errors import ConfigurationError

Trust = Literal["continue", "restart", "drop"]
_STRICTEST_LAST: Final[tuple[Trust, ...]] = get_args(Trust)
EVERY_QUEUE: Final = "*"
"""The key of a mapping that holds for all queues which are not named in it."""

_taken_from: ContextVar[str | None] = ContextVar("handrail-taken-from", default=None)


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """What messages are worth: those of the named `queues` as said there, all others by the `default`."""

    default: Trust = "continue"
    queues: Mapping[str, Trust] = field(default_factory=dict)

    def of(self, queue: str | None) -> Trust:
        """Return what the messages of a queue are worth; of an unknown one (`None`), the least that any are."""
        if not self.queues:
            return self.default
        if queue is None:
            return max(self.default, *self.queues.values(), key=_STRICTEST_LAST.index)
        return self.queues.get(queue, self.default)

    @classmethod
    def of_value(cls, value: Trust | Mapping[str, Trust], *, where: str = "trust") -> TrustPolicy:
        """Return the policy of one word for all queues, or of a mapping from queues (`*`: the others) to words.

        Raises `ConfigurationError`, which begins with `where`, for a word that is none.
        """
        entries: Mapping[str, Trust] = {EVERY_QUEUE: value} if isinstance(value, str) else value
        for queue, trust in entries.items():
            if trust not in _STRICTEST_LAST:
                raise ConfigurationError(
                    f"{where}: {trust!r} for queue {queue!r} is not one of {', '.join(_STRICTEST_LAST)}."
                )
        named = {queue: trust for queue, trust in entries.items() if queue != EVERY_QUEUE}
        return cls(entries.get(EVERY_QUEUE, "continue"), named)

    @classmethod
    def parse(cls, variable: str, text: str) -> TrustPolicy:
        """Read `restart`, or `restart, orders=continue, partners=drop`; raises `ConfigurationError`."""
        entries: dict[str, Any] = {}
        for part in filter(None, map(str.strip, text.split(","))):
            queue, equals, trust = part.rpartition("=")
            queue = queue.strip() if equals else EVERY_QUEUE
            if not queue or queue in entries:
                raise ConfigurationError(
                    f"{variable}={text!r}: {part!r} has no queue, or one that is there twice."
                )
            entries[queue] = trust.strip().lower()
        return cls.of_value(entries, where=f"{variable}={text!r}")


def taken_from() -> str | None:
    """Return the queue of the message that is being received in this context, `None` outside of that."""
    return _taken_from.get()


def noting_queue(consume: Callable[..., Any], active: Callable[[], bool]) -> Callable[..., Any]:
    """Wrap `kombu.Queue.consume`: while a consumer's callback has a message, `taken_from()` is the queue's name."""

    @wraps(consume)
    def consume_noting(
        queue: Any, consumer_tag: str = "", callback: Any = None, *args: Any, **options: Any
    ) -> Any:
        if callback is None or not active():
            return consume(queue, consumer_tag, callback, *args, **options)
        name = queue.name

        def receive(message: Any) -> Any:
            token = _taken_from.set(name)
            try:
                return callback(message)
            finally:
                _taken_from.reset(token)

        return consume(queue, consumer_tag, receive, *args, **options)

    return consume_noting
