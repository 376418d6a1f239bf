"""Redis Streams: entries that carry trace context, and a group's consumer with a span for each delivery.

The trace headers are fields of the entry beside the application's own; the id of the entry is the message's id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import Span, SpanContext

from handrail_propagation import carrier, tracecontext
from handrail_propagation import conventions as names
from handrail_propagation.trust import Trust

if TYPE_CHECKING:
    from redis import Redis

__all__ = ["Consumer", "Delivery", "add"]

_log = logging.getLogger(__name__)
_SYSTEM: Final = "redis"
_NOTE_SECONDS: Final = 86_400
"""How long it is noted which span a failed attempt had."""
_HEADERS: Final = frozenset({names.HEADER_TRACEPARENT, names.HEADER_TRACESTATE, names.HEADER_BAGGAGE})


def add(client: Redis, stream: str, fields: Mapping[str, Any], **options: Any) -> str:
    """Append an entry to a stream (XADD) in a `send {stream}` span, and return the entry's id.

    `fields` are the application's: names of text, values of what redis-py encodes. `traceparent`, `tracestate`
    and `baggage` are added; fields of these names are replaced. `options` are those of redis-py's `xadd`
    (`maxlen`, `approximate`, ...). Raises what redis-py raises; the span has its type then.
    """
    entry: dict[Any, Any] = dict(fields)
    with carrier.send_span(stream, entry, system=_SYSTEM) as span:
        entry_id = _text(client.xadd(stream, entry, **options))
        span.set_attribute(names.MESSAGING_MESSAGE_ID, entry_id)
    return entry_id


class Delivery:
    """One entry of a stream in the hands of one consumer. Work on it in `with delivery.process():`.

    `id` is the entry's, `fields` are the application's fields, as the client decodes them, and `attempt` counts
    deliveries of the entry to the group, from 1, as Redis does.
    """

    def __init__(self, consumer: Consumer, entry_id: str, entry: Mapping[Any, Any], attempt: int) -> None:
        self.id = entry_id
        self.attempt = attempt
        self._consumer = consumer
        self._headers = {
            _text(name): value for name, value in entry.items() if _text(name).lower() in _HEADERS
        }
        self.fields = {name: value for name, value in entry.items() if _text(name) not in self._headers}
        self._settled = False

    @contextmanager
    def process(self) -> Iterator[Span]:
        """Span around the work; the entry is acknowledged (XACK) at its end, unless an exception passes.

        What was not acknowledged stays pending, and is delivered again by `Consumer.read` once it has been idle
        for `claim_after`. The exception passes on, and so does one of the acknowledgement. What failed leaves a note in
        Redis, with a time to live, so that the next attempt is linked (`retry_of`) to it.
        """
        consumer = self._consumer
        with carrier.process_span(
            consumer.stream,
            self._headers,
            system=_SYSTEM,
            message_id=self.id,
            attempt=self.attempt,
            retry_of=self._attempt_before(),
            sent_at=_milliseconds(self.id),
            client_id=consumer.name,
            attributes={names.MESSAGING_CONSUMER_GROUP: consumer.group},
            trust=consumer.trust,
        ) as span:
            try:
                yield span
                self.ack()
            except BaseException:
                self._note(span.get_span_context())
                raise

    def ack(self) -> None:
        """Acknowledge the entry now, so that it is not delivered again whatever happens afterwards."""
        if not self._settled:
            self._consumer.client.xack(self._consumer.stream, self._consumer.group, self.id)
            self._settled = True
            if self.attempt > 1:
                self._keeping_notes(lambda client, key: client.delete(key))

    def _note(self, span: SpanContext) -> None:
        if not self._settled and span.is_valid:
            note = f"{self.attempt} {tracecontext.format_traceparent(span)}"
            self._keeping_notes(lambda client, key: client.set(key, note, ex=_NOTE_SECONDS))

    def _attempt_before(self) -> SpanContext | None:
        """Return the span of the attempt before, if that is what was noted last."""
        if self.attempt == 1:
            return None
        note = _text(self._keeping_notes(lambda client, key: client.get(key)) or "")
        attempt, _, traceparent = note.partition(" ")
        return tracecontext.parse((traceparent,), ()) if attempt == str(self.attempt - 1) else None

    def _keeping_notes(self, command: Callable[[Redis, str], Any]) -> Any:
        """Do something with this entry's note; without one there is no link, and the work goes on."""
        from redis.exceptions import RedisError

        consumer = self._consumer
        key = f"{consumer.stream}:{consumer.group}:attempt:{self.id}"
        try:
            return command(consumer.client, key)
        except RedisError:
            _log.warning("no note of the attempts at %s in %s", self.id, consumer.stream, exc_info=True)
            return None


class Consumer:
    """A member of a consumer group: reads new entries, and takes over what others have left unacknowledged.

    `claim_after` is how long, in seconds, an entry may be with a consumer before another takes it over: longer
    than the work on one takes, since Redis cannot tell a dead consumer from a slow one. `trust` (default: what
    `instrument()` or `HANDRAIL_TRUST` says of the stream) is what trace context in it is worth. The group is
    made (XGROUP CREATE, from the stream's beginning) if there is none.
    """

    def __init__(
        self,
        client: Redis,
        stream: str,
        group: str,
        name: str,
        *,
        claim_after: float = 60.0,
        trust: Trust | None = None,
    ) -> None:
        self.client = client
        self.stream = stream
        self.group = group
        self.name = name
        self.claim_after = claim_after
        self.trust = trust
        self._has_group = False

    def create_group(self) -> None:
        """Make the group, and the stream, if they are not there yet; entries from the beginning are for it."""
        from redis.exceptions import ResponseError

        try:
            self.client.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._has_group = True

    def read(self, count: int = 1, block: float = 0.0) -> list[Delivery]:
        """Return up to `count` deliveries: entries to take over first, else new ones, waiting `block` seconds.

        Work on all of them before `claim_after` has passed, or read fewer. Raises what redis-py raises.
        """
        if not self._has_group:
            self.create_group()
        claimed = self._claim(count)
        if claimed:
            return claimed
        answer: Any = self.client.xreadgroup(
            self.group, self.name, {self.stream: ">"}, count=count, block=round(block * 1000) or None
        )
        return [Delivery(self, _text(entry_id), entry, 1) for entry_id, entry in _entries(answer)]

    def _claim(self, count: int) -> list[Delivery]:
        idle = round(self.claim_after * 1000)
        pending: Any = self.client.xpending_range(
            self.stream, self.group, min="-", max="+", count=count, idle=idle
        )
        if not pending:
            return []
        before = {_text(found["message_id"]): int(found["times_delivered"]) for found in pending}
        # Only what is still idle: of two consumers that saw the same entry one gets it.
        claimed: Any = self.client.xclaim(self.stream, self.group, self.name, idle, list(before))
        return [
            Delivery(self, _text(entry_id), entry, before[_text(entry_id)] + 1)
            for entry_id, entry in claimed
            if entry  # Redis 6 answers with nothing for an entry that was deleted meanwhile
        ]


def _entries(answer: Any) -> Sequence[tuple[Any, Mapping[Any, Any]]]:
    """Return the entries of the one stream that was read; redis-py answers with lists or, on RESP3, mappings."""
    if not answer:
        return []
    found: Any = next(iter(answer.values())) if isinstance(answer, Mapping) else answer[0][1]
    if found and isinstance(found[0], list) and found[0] and isinstance(found[0][0], (list, tuple)):
        found = found[0]
    entries: Sequence[tuple[Any, Mapping[Any, Any]]] = found
    return entries


def _milliseconds(entry_id: str) -> float | None:
    """Return when Redis took an entry, in seconds, which is in its id unless the producer made one up."""
    time, _, _ = entry_id.partition("-")
    return int(time) / 1000 if time.isdigit() and 1 << 40 < int(time) < 1 << 43 else None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
