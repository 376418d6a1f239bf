"""The spans of a forest, field by field, as numpy arrays: what checks of many spans at once are made on.

Item `i` of every array is of span `i`. Spans are named by position in here; who wants to show one takes it from
`spans`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from handrail_harness.identities import Flags, Identities, Positions, integers
from handrail_harness.looks import Look
from handrail_harness.spans import Link, Span, SpanKind
from handrail_propagation.conventions import LINK_TYPE

KINDS: Final[dict[str, int]] = {kind: number for number, kind in enumerate(get_args(SpanKind))}
"""The number of each kind of span in `Columns.kind`."""
PRODUCER: Final = KINDS["producer"]
CONSUMER: Final = KINDS["consumer"]


class Columns:
    """The columns of `n` spans, each worked out when it is first asked for."""

    def __init__(self, spans: tuple[Span, ...], identities: Identities) -> None:
        self.spans = spans
        self._identities = identities

    @property
    def first(self) -> Positions:
        """The first span of the same identity: the span itself, unless copies that differ are among the spans."""
        return self._identities.first

    @property
    def parent(self) -> Positions:
        """The parent, where it is among the spans (of copies, the first), else -1."""
        return self._identities.parent

    @property
    def parentless(self) -> Flags:
        """Whether it is a root: no parent id, or the all-zero one of W3C."""
        return self._identities.parentless

    @property
    def traces(self) -> int:
        """How many traces the spans are of."""
        return len(self._identities.traces)

    @cached_property
    def edges(self) -> Positions:
        """Those whose parent is among the spans, in order."""
        return np.flatnonzero(self.parent >= 0)

    @property
    def looks(self) -> tuple[Look, ...]:
        """What the spans look like, in the order in which the looks come."""
        return self._sorted[0]

    @property
    def look(self) -> Positions:
        """The place of its look in `looks`."""
        return self._sorted[1]

    @cached_property
    def kind(self) -> NDArray[np.int8]:
        """The number of its kind in `KINDS`."""
        return np.array([KINDS.get(look.kind, 0) for look in self.looks], np.int8)[self.look]

    @cached_property
    def _sorted(self) -> tuple[tuple[Look, ...], Positions]:
        of_each = [span.look for span in self.spans]
        numbers = {look: number for number, look in enumerate(dict.fromkeys(of_each))}
        look = np.fromiter(map(numbers.__getitem__, of_each), np.intp, len(of_each))
        return tuple(numbers), look

    @cached_property
    def start(self) -> NDArray[Any]:
        """When it started, in nanoseconds since the epoch (see `integers` for the type)."""
        return integers([span.start_unix_nano for span in self.spans])

    @cached_property
    def end(self) -> NDArray[Any]:
        """When it ended, in nanoseconds since the epoch."""
        return integers([span.end_unix_nano for span in self.spans])

    def at(self, positions: Iterable[int]) -> list[Span]:
        """Return the spans at these positions."""
        spans = self.spans
        return [spans[position] for position in positions]

    def links(self, *types: str, of: Flags) -> tuple[Positions, Positions]:
        """Return the links of these types, of the spans marked in `of`, whose target is among the spans.

        As two arrays, an item a link: the span that has it, and the first of the identity that it leads to.
        """
        positions: list[int] = []
        found: list[Link] = []
        for position in np.flatnonzero(of).tolist():
            for link in self.spans[position].links:
                if link.attributes.get(LINK_TYPE) in types:
                    positions.append(position)
                    found.append(link)
        owners = np.array(positions, np.intp)
        targets = self.find([link.trace_id for link in found], [link.span_id for link in found])
        return owners[targets >= 0], targets[targets >= 0]

    def find(self, trace_ids: Iterable[str], span_ids: Sequence[str]) -> Positions:
        """Return where the first span of each of these identities is, -1 where none is."""
        return self._identities.find(trace_ids, span_ids)
