"""Spans → trees, exactly as exported: roots, orphans, duplicates and loops stay what they are (D2).

No rule, no verdict and no drawing in here, and nothing that recurses: a hostile trace may be a chain of
100,000 spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from handrail_harness.collector import paused_collector
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


@dataclass(frozen=True, slots=True)
class Forest:
    """The trees of one or several traces.

    `spans` is everything as it came, `distinct` the same with identical copies once, `parents` the parent
    of each of those where it is there. `by_key` holds the first copy of every span id. `children` holds, in
    order of start, what names a span as its parent. `roots` have no parent id; `orphans` have one that is
    not among the spans; `loops` are cycles of parents (a span that is its own parent is a loop of one). Of
    identical copies only one hangs in the tree, so that a branch resent by an exporter is not drawn twice;
    differing copies all hang where they say.
    """

    spans: tuple[Span, ...]
    distinct: tuple[Span, ...]
    parents: tuple[Span | None, ...]
    by_key: dict[Key, Span]
    children: dict[Key, tuple[Span, ...]]
    roots: tuple[Span, ...]
    orphans: tuple[Span, ...]
    duplicates: tuple[Duplicate, ...]
    loops: tuple[tuple[Span, ...], ...]

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
        return tuple(sorted((*self.roots, *self.orphans, *(loop[0] for loop in self.loops)), key=_by_start))

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
    with paused_collector():
        return _build(tuple(spans))


def _build(everything: tuple[Span, ...]) -> Forest:
    by_key = {(span.trace_id, span.span_id): span for span in everything}
    duplicates: tuple[Duplicate, ...] = ()
    distinct = everything
    if len(by_key) < len(everything):
        by_key, duplicates, distinct = _with_copies(everything)

    roots: list[Span] = []
    orphans: list[Span] = []
    children: dict[Key, list[Span]] = {}
    parents: list[Span | None] = []
    suspects: list[Span] = []
    find = by_key.get
    for span in distinct:
        key = (span.trace_id, span.parent_span_id)
        parent = find(key)
        if parent is None or not span.parent_span_id.strip("0"):
            parents.append(None)
            (orphans if span.parent_span_id.strip("0") else roots).append(span)
            continue
        parents.append(parent)
        # In a circle not every span can begin after its parent: only those that do not are followed.
        if span.start_unix_nano <= parent.start_unix_nano:
            suspects.append(span)
        siblings = children.get(key)
        if siblings is None:
            children[key] = [span]
        else:
            siblings.append(span)
    for siblings in children.values():
        if len(siblings) > 1:
            siblings.sort(key=_by_start)
    return Forest(
        spans=everything,
        distinct=distinct,
        parents=tuple(parents),
        by_key=by_key,
        children={key: tuple(siblings) for key, siblings in children.items()},
        roots=tuple(sorted(roots, key=_by_start)),
        orphans=tuple(sorted(orphans, key=_by_start)),
        duplicates=duplicates,
        loops=_loops(by_key, suspects),
    )


def _with_copies(
    everything: tuple[Span, ...],
) -> tuple[dict[Key, Span], tuple[Duplicate, ...], tuple[Span, ...]]:
    """Group spans that share an id; differing copies in an order of their own, whatever that of arrival was."""
    copies: dict[Key, list[Span]] = {}
    for span in everything:
        copies.setdefault(key_of(span), []).append(span)
    duplicates: list[Duplicate] = []
    distinct: list[Span] = []
    for same in copies.values():
        different = same
        if len(same) > 1:
            same.sort(key=lambda span: (span.start_unix_nano, span.end_unix_nano, repr(span)))
            different = [one for at, one in enumerate(same) if at == 0 or one != same[at - 1]]
            duplicates.append(Duplicate(tuple(same), tuple(different)))
        distinct.extend(different)
    return {key: same[0] for key, same in copies.items()}, tuple(duplicates), tuple(distinct)


def _loops(by_key: dict[Key, Span], starts: Iterable[Span]) -> tuple[tuple[Span, ...], ...]:
    """Follow parents from these spans, each step once: one that comes back to the same walk has gone in a
    circle.
    """
    walk_of: dict[Key, int] = {}
    loops: list[tuple[Span, ...]] = []
    for number, start in enumerate(starts):
        key: Key | None = key_of(start)
        while key is not None and key in by_key and key not in walk_of:
            walk_of[key] = number
            key = parent_key_of(by_key[key])
        if key is not None and walk_of.get(key) == number:
            members = [by_key[key]]
            while (above := parent_key_of(members[-1])) != key and above is not None:
                members.append(by_key[above])
            first = min(range(len(members)), key=lambda at: _by_start(members[at]))
            loops.append(tuple(members[first:] + members[:first]))
    return tuple(loops)


_by_start = attrgetter("start_unix_nano", "trace_id", "span_id")
