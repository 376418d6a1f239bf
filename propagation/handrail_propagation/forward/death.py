"""The spans that a dead process left open: one end for each, and no second one where somebody else has ended it.

The worker's main process ends the `process` span of a pool child that it believes to be gone, under the child's own
span id, and knows how the child died. The child may prove it wrong, and the main process may take a while to notice:
both are waited for, so that every span has one end.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from handrail_propagation.forward.stream import Stream
from handrail_propagation.forward.wire import Item, Labels, closed

PATIENCE: Final = 20.0
"""Seconds; Celery's main process takes up to `worker_lost_wait` (10) to call a child lost."""
_REMEMBERED: Final = 20_000


class Deaths:
    """Decides who ends the spans that more than one process has a word in."""

    def __init__(self) -> None:
        self._ended: set[bytes] = set()
        self._ended_before: set[bytes] = set()

    def ended(self, key: bytes) -> None:
        """Remember for a while that a span was ended by its own process, or for it."""
        self._ended.add(key)
        if len(self._ended) >= _REMEMBERED:
            self._ended_before, self._ended = self._ended, set()

    def decide(
        self, streams: Iterable[Stream], gone: Collection[int], due: Collection[bytes]
    ) -> Iterator[Item]:
        """Yield those verdicts that stand, once everything that there was has been read; `gone` are writers.

        `due` are the spans whose verdicts had been read before the last look at all writers: their starts are known.
        One about a span that is still open in a living process waits: that process may end it yet.
        """
        streams = list(streams)
        for stream in streams:
            for key, verdict in list(stream.verdicts.items()):
                if key not in due:
                    continue
                owner = next((one for one in streams if one is not stream and key in one.opens), None)
                if owner is not None and owner.writer not in gone:
                    continue
                del stream.verdicts[key]
                if owner is not None:
                    del owner.opens[key]
                    owner.death = verdict
                    stream.spoken[key] = verdict.segment, owner.writer
                    yield verdict.item
                elif not verdict.again and key not in self._ended and key not in self._ended_before:
                    yield verdict.item

    def is_over(self, stream: Stream) -> bool:
        """Whether the time is over in which somebody else would have ended its spans."""
        return stream.gone_since is not None and time.monotonic() - stream.gone_since >= PATIENCE

    def ends(self, stream: Stream, last: int) -> Iterator[Item]:
        """Yield the end of each span that is still open; its record id is that of the start.

        `last` is the process's last sign of life, for where nobody has recorded its death.
        """
        labels = Labels(stream.writer)
        death = stream.death
        cursor = stream.entry.cursor
        for key, (sequence, origin, payload) in list(stream.opens.items()):
            self.ended(key)
            began = Span.FromString(payload).start_time_unix_nano
            end = max(death.time if death else last, began)
            content = labels.span(closed(payload, end, death.reason if death else ""), sequence)
            yield origin, content, stream.writer, cursor.index, cursor.offset, sequence
        stream.opens = {}
