"""One writer's records on their way to one destination: how far they are read, and which spans are open there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from handrail_propagation import conventions as names
from handrail_propagation.forward.frames import frames
from handrail_propagation.forward.wire import Item, Labels, Origin, Signal, key_of
from handrail_propagation.otlp.wire import varint
from handrail_propagation.spool.identity import Identity
from handrail_propagation.spool.ledger import Entry
from handrail_propagation.spool.reader import MAX_FILE, Cursor, Place, SegmentFile
from handrail_propagation.spool.record import Damage, Kind

_ABANDONED: Final = b"\x0a" + varint(len(names.ABANDONED)) + names.ABANDONED.encode() + b"\x12\x02\x10\x01"
"""An attribute of that name that is true; the longer, the faster it is not found."""
NO_ORIGIN: Final = Origin.parse(b"")
_TRACES: Final = Signal.TRACES
_LOGS: Final = Signal.LOGS
# Plain numbers: an Enum's member is slow to look up and to compare
_SPAN_START: Final = int(Kind.SPAN_START)
_SPAN_END: Final = int(Kind.SPAN_END)
_LOG: Final = int(Kind.LOG)
_ORIGIN: Final = int(Kind.ORIGIN)


class Unreadable(OSError):
    """A segment that is there cannot be read."""


Start: TypeAlias = tuple[int, Origin, bytes]
"""The start of a span that has not ended: the number of its record, its origin, and its payload."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a span of another process, recorded for it because that one is believed to be gone."""

    item: Item
    time: int
    """In nanoseconds since 1970."""
    reason: str
    again: bool
    """Read again after a restart: unless it is still open there, it has been delivered."""

    @property
    def segment(self) -> int:
        """Index of the segment that its record is in."""
        return self.item[3]


class Stream:
    """Reads a writer's segments from the ledger's `entry` on; what is before it is read again for its open spans.

    `origin` makes an `Origin` of a payload, the same object for the same payload; `ended` is called with trace and span
    id of each span that its own process has ended.
    """

    def __init__(
        self,
        writer: int,
        entry: Entry,
        origin: Callable[[bytes], Origin],
        ended: Callable[[bytes], None],
    ) -> None:
        self.writer = writer
        self.settled = entry
        self.opens: dict[bytes, Start] = {}
        """Trace and span id → start, as far as it was read."""
        self.carry: dict[int, dict[bytes, Start]] = {}
        """What was open at the end of each segment that is not deleted yet."""
        self.verdicts: dict[bytes, Verdict] = {}
        """Ends that this writer has recorded for spans of others, until it is clear who has ended them."""
        self.spoken: dict[bytes, tuple[int, int]] = {}
        """Those that have ended a span: the segment that they are in, and the writer that it is of."""
        self.damages: list[Place] = []
        """Quarantined, and not yet said."""
        self.quarantined = entry.quarantined
        self.closed = entry.closed
        self.gone_since: float | None = None
        """When it was first found gone (monotonic seconds)."""
        self.identity: Identity | None = None
        self.death: Verdict | None = None
        self.last_end = b""
        """Trace and span id of the span that the process itself has ended last."""
        self._origin = origin
        self._ended = ended
        self._labels = Labels(writer)
        self._dropped = entry.dropped
        cursor = entry.cursor
        self._segment_index, self._end, self._sequence = cursor.index, cursor.offset, cursor.sequence
        """The last record that counts: its segment, where it ends, its number."""
        self._behind: list[Place] = []
        self._not_restored: list[Place] = []
        self._index = 0
        self._offset = 0
        self._origins: dict[int, Origin] = {}

    @property
    def entry(self) -> Entry:
        """What will be settled once everything that was read so far has been delivered."""
        opens = 0 if self.closed else len(self.opens) + len(self.verdicts)
        cursor = Cursor(self._segment_index, self._end, self._sequence)
        return Entry(cursor, self.quarantined, self._dropped, opens, self.closed)

    @property
    def settles(self) -> bool:
        """Whether more was read than is settled."""
        return self.entry != self.settled

    def restore(self, starts: dict[bytes, Start], damages: list[Place]) -> None:
        """Take over the spans that were open at the end of segments that are deleted, as far as they can be read."""
        self.opens = dict(starts)
        self._not_restored = damages

    def is_needed(self, until: int, has_closed: Callable[[int], bool]) -> bool:
        """Whether a segment before number `until` holds an end whose delivery is not decided yet, or has to be known.

        The latter until the ledger on disk says that the writer that it is about `has_closed`: else a restart ends that
        one's span again.
        """
        for key, (_, owner) in list(self.spoken.items()):
            if has_closed(owner):
                self.spoken.pop(key, None)
        segments = [verdict.segment for verdict in list(self.verdicts.values())]
        segments += [segment for segment, _ in list(self.spoken.values())]
        return any(segment < until for segment in segments)

    def carried(self, until: int) -> dict[bytes, Start] | None:
        """Return what was open at the end of the segments before number `until`; `None` until they have been read."""
        before = [index for index in list(self.carry) if index < until]
        return self.carry[max(before)] if before and self._index >= until else None

    def deleted(self, until: int) -> None:
        """Forget what is only of use as long as the segments before number `until` are there."""
        for index in list(self.carry):
            if index < until:
                self.carry.pop(index, None)

    def read(
        self, files: Mapping[SegmentFile, int], add: Callable[[Signal, Item], None], *, alive: bool
    ) -> None:
        """Call `add` with what is to be delivered, from where the last call ended to the end of `files`.

        These are given with their sizes. Of a writer that is alive the end of the last segment may be a record that is
        just being written.
        """
        last = max(files).index
        settled = self.settled.cursor
        for file, size in files.items():
            if file.index < self._index:
                continue
            if file.index > self._index:
                self._next_segment(file.index)
            if self._not_restored and file.index >= settled.index:
                if file.index == settled.index:
                    self._segment(file, min(size, settled.offset), add, writing=False)
                self._count_not_restored()
            if size > self._offset:
                self._segment(file, size, add, writing=alive and file.index == last)

    def _count_not_restored(self) -> None:
        """Now that all is read again that is settled: the ledger says how many spans were open there."""
        self.quarantined += max(self.settled.opens - len(self.opens) - len(self.verdicts), 0)
        self.damages += self._not_restored
        self._not_restored = []

    def finish(self) -> None:
        """Everything of a writer that is gone was read: damage behind its last record is lost records."""
        if not self._behind:
            # It may have been a second copy of what counts
            self._segment_index, self._end = max(
                (self._segment_index, self._end), (self._index, self._offset)
            )
            return
        sequence = self._sequence
        # As `reader.survey` counts: only a number under a right checksum can be believed
        certain = [
            place.damage.sequence for place in self._behind if place.damage.reason.startswith("unknown")
        ]
        top = max(sequence + len(self._behind), *certain, 0)
        self.quarantined += top - sequence
        self.damages += self._behind
        self._behind = []
        self._segment_index, self._end, self._sequence = self._index, self._offset, top

    def reopen(self) -> None:
        """Go on with a writer that was taken for gone: its locks were free, and it could not be asked."""
        self.closed, self.gone_since = False, None

    def _next_segment(self, index: int) -> None:
        if self._index:
            self.carry[self._index] = dict(self.opens)
        self._index, self._offset = index, 0
        self._origins = {}

    def _segment(
        self, file: SegmentFile, size: int, add: Callable[[Signal, Item], None], *, writing: bool
    ) -> None:
        try:
            with file.path.open("rb") as opened:
                opened.seek(self._offset)
                data = opened.read(min(size - self._offset, MAX_FILE))
        except FileNotFoundError:
            return
        except OSError as error:
            raise Unreadable(error.errno, error.strerror, str(file.path)) from error
        index = self._index
        settled = self.settled.cursor
        settled_until = settled.offset if index == settled.index else MAX_FILE if index < settled.index else 0
        labels, opens, origins, writer = self._labels, self.opens, self._origins, self.writer
        for frame in frames(data, writer, base=self._offset):
            if type(frame) is Damage:
                if frame.reason == "fragment" and writing:
                    return
                self._offset = frame.end
                if frame.end > settled_until:
                    self._behind.append(Place(file.path, frame))
                continue
            kind, number, dropped, sequence, payload, end = frame
            self._offset = end
            again = end <= settled_until
            if not again:
                follows = sequence == self._sequence + 1 and not self._behind and dropped <= self._dropped
                if not follows and not self._jump(sequence, dropped):
                    continue  # a second copy
                self._segment_index, self._end, self._sequence = index, end, sequence
            if kind == _SPAN_START:
                opens[key_of(payload)] = sequence, origins.get(number, NO_ORIGIN), payload
            elif kind == _SPAN_END:
                key = key_of(payload)
                opens.pop(key, None)
                verdict = _ABANDONED in payload
                if not verdict:
                    self.last_end = key
                    if again:
                        self._ended(key)
                        continue
                origin = origins.get(number, NO_ORIGIN)
                content = labels.span(payload, sequence)
                item = origin, content, writer, index, end, sequence
                if verdict and (found := _verdict(payload, item, again)) is not None:
                    self.verdicts[key] = found
                else:
                    self._ended(key)
                    add(_TRACES, item)
            elif kind == _LOG:
                if not again:
                    origin = origins.get(number, NO_ORIGIN)
                    content = labels.log(payload, sequence)
                    add(_LOGS, (origin, content, writer, index, end, sequence))
            elif kind == _ORIGIN:
                origins[number or len(origins) + 1] = self._origin(payload)

    def _jump(self, sequence: int, dropped: int) -> bool:
        """Count what was lost before a record, or dropped; return whether the record is a new one."""
        self.damages += self._behind
        self._behind = []
        expected = self._sequence + 1
        if sequence < expected:
            return False
        self.quarantined += sequence - expected
        self._dropped = max(self._dropped, dropped)
        return True


def _verdict(payload: bytes, item: Item, again: bool) -> Verdict | None:
    """Return what is said of another process's span; `None` when the text is there for another reason."""
    try:
        span = Span.FromString(payload)
    except DecodeError:
        return None
    attributes = {pair.key: pair.value for pair in span.attributes}
    if names.ABANDONED not in attributes or not attributes[names.ABANDONED].bool_value:
        return None
    reason = attributes.get(names.ABANDONED_REASON)
    return Verdict(item, span.end_time_unix_nano, reason.string_value if reason else "", again)
