"""Span ids as numbers, and parents as positions: the look-ups of a forest, all spans at once.

Ids are compared exactly, whatever they are spelled like: those of W3C (16 hex digits) are the numbers that they
spell, any others are numbered as they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from handrail_harness.spans import Span

Positions = NDArray[np.intp]
"""Places in a sequence of spans; -1 where there is none."""
Flags = NDArray[np.bool_]
Numbers = NDArray[np.uint64]

NOWHERE: Final = -1
_NO_ID: Final = "0" * 16
"""What W3C writes for "no parent"."""


class Identities:
    """Who has whose id in `n` spans. Every array has a place for each of them.

    `trace` numbers the traces from 0 in order of arrival. `first` is the first span of the same trace and id (the
    span itself, unless ids repeat), `parent` the first with the parent's id in the same trace, `parentless` whether
    there is no parent id, or W3C's all-zero one.
    """

    def __init__(
        self,
        traces: dict[str, int],
        trace: Positions,
        own: Numbers,
        above: Numbers,
        numbered: dict[str, int] | None,
    ) -> None:
        self.traces = traces
        self.trace = trace
        self.parentless: Flags = above == 0
        self._own = own
        self._above = above
        self._numbered = numbered
        # Of one trace, a span's number is its key. Of several, the number's place among all of them stands for it,
        # so that trace and number fit into one key.
        self._known: Numbers | None = np.sort(own) if len(traces) > 1 else None
        keys, _ = self._keys(trace, own)
        order = np.argsort(keys)
        ordered = keys[order]
        new = np.ones(len(order), dtype=np.bool_)
        np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
        if new.all():
            self._distinct, self._at = ordered, order
            self.first: Positions = np.arange(len(order))
        else:
            begins = np.flatnonzero(new)
            self._distinct = ordered[begins]
            self._at = np.minimum.reduceat(order, begins)
            self.first = np.empty_like(order)
            self.first[order] = self._at[np.cumsum(new) - 1]
        self.parent: Positions = self._look_up(trace, above, ~self.parentless)

    @classmethod
    def of(cls, spans: Sequence[Span]) -> Identities:
        """Number the ids of these spans."""
        trace_ids = [span.trace_id for span in spans]
        traces = {trace_id: at for at, trace_id in enumerate(dict.fromkeys(trace_ids))}
        trace = (
            np.fromiter(map(traces.__getitem__, trace_ids), np.intp, len(trace_ids))
            if len(traces) > 1
            else np.zeros(len(trace_ids), np.intp)
        )
        own_ids = [span.span_id for span in spans]
        above_ids = [span.parent_span_id or _NO_ID for span in spans]
        own, above = _spelled(own_ids), _spelled(above_ids)
        if own is not None and above is not None:
            return cls(traces, trace, own, above, None)
        numbered = {one: at for at, one in enumerate(dict.fromkeys((*own_ids, *above_ids)), start=1)}
        own = np.fromiter(map(numbered.__getitem__, own_ids), np.uint64, len(own_ids))
        above = np.fromiter(
            (numbered[one] if one.strip("0") else 0 for one in above_ids), np.uint64, len(above_ids)
        )
        return cls(traces, trace, own, above, numbered)

    def take(self, kept: Positions) -> Identities:
        """Return the same for the spans at these places, in their order."""
        return Identities(self.traces, self.trace[kept], self._own[kept], self._above[kept], self._numbered)

    def find(self, trace_ids: Iterable[str], span_ids: Sequence[str]) -> Positions:
        """Return where the first span of each of these traces and ids is, -1 where none is."""
        if self._numbered is not None:
            numbers = np.fromiter(map(self._numbered.get, span_ids, repeat(0)), np.uint64, len(span_ids))
            there = numbers != 0
        else:
            spelled = _spelled(span_ids)
            if spelled is not None:
                numbers, there = spelled, np.ones(len(span_ids), np.bool_)
            else:  # whoever linked to an id like this linked to none of ours
                each = [_spelled((one,)) for one in span_ids]
                numbers = np.array([0 if one is None else one[0] for one in each], np.uint64)
                there = np.array([one is not None for one in each], np.bool_)
        trace = np.fromiter(map(self.traces.get, trace_ids, repeat(NOWHERE)), np.intp, len(span_ids))
        return self._look_up(trace, numbers, there & (trace != NOWHERE))

    def _keys(self, trace: Positions, numbers: Numbers) -> tuple[Numbers, Flags | None]:
        """Return the key of each trace and number, and which of the numbers any span has (`None`: not told)."""
        if self._known is None:
            return numbers, None
        at = _places(self._known, numbers)
        return (trace * len(self._known) + at).astype(np.uint64), self._known[at] == numbers

    def _look_up(self, trace: Positions, numbers: Numbers, wanted: Flags) -> Positions:
        if not len(self._distinct):
            return np.full(len(numbers), NOWHERE)
        keys, known = self._keys(trace, numbers)
        at = _places(self._distinct, keys)
        found = wanted & (self._distinct[at] == keys)
        if known is not None:
            found &= known
        return np.where(found, self._at[at], NOWHERE)


def _places(ordered: Numbers, numbers: Numbers) -> Positions:
    """Return where in `ordered` each of the numbers is; anywhere, where it is not."""
    # Looked up in order, which takes a fourth of the time: neighbours share what a cache holds.
    order = np.argsort(numbers)
    at = np.empty_like(order)
    at[order] = np.searchsorted(ordered, numbers[order])
    at[at == len(ordered)] = 0
    return at


def _spelled(ids: Sequence[str]) -> Numbers | None:
    """Return ids as the numbers that they spell; `None` when one of them is not 16 lower-case hex digits."""
    joined = " ".join(ids)
    try:
        raw = bytes.fromhex(joined)
    except ValueError:
        return None
    # `fromhex` takes upper case and any white space: what comes out the same when written again was neither.
    if len(raw) != 8 * len(ids) or raw.hex(" ", 8) != joined:
        return None
    return np.frombuffer(raw, ">u8").astype(np.uint64)


def integers(values: Sequence[int]) -> NDArray[Any]:
    """Return natural numbers as an array of int64 whose differences are exact; of Python's own where one is no such.

    OTLP's times are unsigned: those of a hostile span may not fit.
    """
    try:
        found = np.fromiter(values, np.int64, len(values))
    except OverflowError:
        return np.array(values, dtype=object)
    return found if not len(found) or found.min() >= 0 else np.array(values, dtype=object)
