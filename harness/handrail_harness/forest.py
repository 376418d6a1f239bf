"""Spans → trees, exactly as exported: roots, orphans, duplicates and loops stay what they are (D2).

No rule, no verdict and no drawing in here, and nothing that recurses: a hostile trace may be a chain of
100,000 spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

import numpy as np

from handrail_harness.circles import loops
from handrail_harness.collector import paused_collector
from handrail_harness.columns import Columns
from handrail_harness.identities import Flags, Identities, Positions
from handrail_harness.spans import Span

Key = tuple[str, str]
"""A span's identity: trace id and span id. A parent is only ever looked for in the span's own trace."""


def key_of(span: Span) -> Key:
    """Return the span's identity."""
    return (span.trace_id, span.span_id)


def parent_key_of(span: Span) -> Key | None:
    """Return the identity of the span's parent, `None` for a root (no parent id, or the all-zero one of
    W3C).
    """
    return (span.trace_id, span.parent_span_id) if span.parent_span_id.strip("0") else None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A span id that occurs more than once in one trace; `different` is one copy of each that differs from
    the others in any field.
    """

    copies: tuple[Span, ...]
    different: tuple[Span, ...]

    @property
    def identical(self) -> bool:
        """Whether every copy is the same: one span, exported again."""
        return len(self.different) == 1

    @property
    def key(self) -> Key:
        """The identity that the copies share."""
        return key_of(self.copies[0])


@dataclass(frozen=True, eq=False)
class Forest:
    """The trees of one or several traces.

    `spans` is everything as it came, `distinct` the same with identical copies once. Of identical copies only one
    hangs in the tree, so that a branch resent by an exporter is not drawn twice; differing copies all hang where
    they say. `columns` has the distinct spans field by field, and with them the tree as positions. The rest is
    worked out when it is first asked for.
    """

    spans: tuple[Span, ...]
    distinct: tuple[Span, ...]
    duplicates: tuple[Duplicate, ...]
    columns: Columns

    @cached_property
    def roots(self) -> tuple[Span, ...]:
        """The spans without a parent id, earliest first."""
        return self._earliest_first(self.columns.parentless)

    @cached_property
    def orphans(self) -> tuple[Span, ...]:
        """The spans whose parent is not among the spans, earliest first."""
        return self._earliest_first((self.columns.parent < 0) & ~self.columns.parentless)

    @cached_property
    def loops(self) -> tuple[tuple[Span, ...], ...]:
        """Cycles of parents, each from its earliest member on; a span that is its own parent is one of one."""
        return tuple(tuple(self.columns.at(loop)) for loop in loops(self.columns))

    @cached_property
    def parents(self) -> tuple[Span | None, ...]:
        """The parent of each distinct span, where it is among the spans."""
        distinct = self.distinct
        return tuple(distinct[above] if above >= 0 else None for above in self.columns.parent.tolist())

    @cached_property
    def by_key(self) -> dict[Key, Span]:
        """The first copy of every span id."""
        by_key: dict[Key, Span] = {}
        for span in self.distinct:
            by_key.setdefault((span.trace_id, span.span_id), span)
        return by_key

    @cached_property
    def children(self) -> dict[Key, tuple[Span, ...]]:
        """What names a span as its parent, in order of start."""
        children: dict[Key, list[Span]] = {}
        for span, parent in zip(self.distinct, self.parents, strict=True):
            if parent is not None:
                children.setdefault((span.trace_id, span.parent_span_id), []).append(span)
        return {key: tuple(sorted(siblings, key=by_start)) for key, siblings in children.items()}

    def _earliest_first(self, which: Flags) -> tuple[Span, ...]:
        return tuple(sorted(self.columns.at(np.flatnonzero(which).tolist()), key=by_start))

    def children_of(self, span: Span) -> tuple[Span, ...]:
        """Return the spans that name this one as their parent, earliest first."""
        return self.children.get(key_of(span), ())

    def parent_of(self, span: Span) -> Span | None:
        """Return the span's parent where it is among the spans."""
        key = parent_key_of(span)
        return self.by_key.get(key) if key else None

    def ancestors_of(self, span: Span) -> Iterator[Span]:
        """Yield parent, grandparent, ... up to the root, the missing parent, or once around a loop."""
        seen = {key_of(span)}
        above = self.parent_of(span)
        while above is not None and key_of(above) not in seen:
            seen.add(key_of(above))
            yield above
            above = self.parent_of(above)

    def tops(self) -> tuple[Span, ...]:
        """Return where walking starts: roots, orphans and one member of every loop, earliest first."""
        return tuple(sorted((*self.roots, *self.orphans, *(loop[0] for loop in self.loops)), key=by_start))

    def walk(self) -> Iterator[tuple[Span, Span | None, int]]:
        """Yield every span once with its parent and depth (a top has none and 0), parents before children."""
        seen: set[int] = set()
        expanded: set[Key] = set()
        for top in self.tops():
            stack: list[tuple[Span, Span | None, int]] = [(top, None, 0)]
            while stack:
                span, parent, depth = stack.pop()
                if id(span) in seen:
                    continue
                seen.add(id(span))
                yield span, parent, depth
                if key_of(span) in expanded:
                    continue
                expanded.add(key_of(span))
                stack.extend((child, span, depth + 1) for child in reversed(self.children_of(span)))


def build(spans: Iterable[Span]) -> Forest:
    """Build the forest of these spans (of any number of traces, in any order) without changing one of
    them.
    """
    everything = tuple(spans)
    with paused_collector():
        identities = Identities.of(everything)
        duplicates: tuple[Duplicate, ...] = ()
        distinct = everything
        repeated = np.flatnonzero(identities.first != np.arange(len(everything)))
        if len(repeated):
            duplicates, kept = _copies(everything, identities, repeated)
            distinct = tuple(everything[position] for position in kept)
            identities = identities.take(np.array(kept, np.intp))
    return Forest(everything, distinct, duplicates, Columns(distinct, identities))


def _copies(
    everything: tuple[Span, ...], identities: Identities, repeated: Positions
) -> tuple[tuple[Duplicate, ...], list[int]]:
    """Group spans that share an id; return with the groups which spans are left when identical ones count once.

    Differing copies stay together, in an order of their own, whatever that of arrival was.
    """
    groups: dict[int, list[int]] = {}
    for position, first in zip(repeated.tolist(), identities.first[repeated].tolist(), strict=True):
        groups.setdefault(first, [first]).append(position)
    duplicates: list[Duplicate] = []
    differing: dict[int, list[int]] = {}
    for first, positions in sorted(groups.items()):
        same = [everything[position] for position in positions]
        if all(one == same[0] for one in same[1:]):
            duplicates.append(Duplicate(tuple(same), (same[0],)))
            continue
        in_order = sorted(positions, key=lambda position: _by_content(everything[position]))
        same = [everything[position] for position in in_order]
        differ = [at for at, one in enumerate(same) if at == 0 or one != same[at - 1]]
        differing[first] = [in_order[at] for at in differ]
        duplicates.append(Duplicate(tuple(same), tuple(same[at] for at in differ)))
    is_first = np.ones(len(everything), np.bool_)
    is_first[repeated] = False
    kept: list[int] = []
    for position in np.flatnonzero(is_first).tolist():
        kept.extend(differing.get(position, (position,)))
    return tuple(duplicates), kept


def _by_content(span: Span) -> tuple[int, int, str]:
    return (span.start_unix_nano, span.end_unix_nano, repr(span))


by_start = attrgetter("start_unix_nano", "trace_id", "span_id")
"""Sorts spans earliest first."""
