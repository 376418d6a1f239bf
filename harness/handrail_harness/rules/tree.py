"""Invariants of the tree itself: one trace, one root, every parent there, every id once, no circle."""

from __future__ import annotations

from collections.abc import Iterator

from handrail_harness.forest import parent_key_of
from handrail_harness.printable import printable
from handrail_harness.rules.base import Place
from handrail_harness.rules.facts import Facts
from handrail_harness.spans import Span

_EVIDENCE_MAX = 20


def one_trace(facts: Facts) -> Iterator[Place]:
    """All spans of the run are in one trace: a place for each trace but the one that began first."""
    if facts.columns.traces < 2:
        return
    first: dict[str, Span] = {}
    for span in facts.forest.spans:
        known = first.get(span.trace_id)
        if known is None or (span.start_unix_nano, span.span_id) < (known.start_unix_nano, known.span_id):
            first[span.trace_id] = span
    main, *others = sorted(first.values(), key=lambda span: (span.start_unix_nano, span.trace_id))
    for span in others:
        yield Place(span, f"is in trace {span.trace_id}, the run began in {main.trace_id}", (span, main))


def one_root(facts: Facts) -> Iterator[Place]:
    """There is one root: a place for each further one, or the earliest span where there is none (yet)."""
    roots = facts.forest.roots
    if not roots and facts.forest.spans:
        earliest = min(facts.forest.spans, key=lambda span: (span.start_unix_nano, span.span_id))
        yield Place(earliest, "no span of the run is a root", (earliest,), "healing")
    for root in roots[1:]:
        detail = f"is a root, and so is {printable(roots[0].name, 60)} ({roots[0].span_id})"
        yield Place(root, detail, (root, roots[0]))


def no_orphans(facts: Facts) -> Iterator[Place]:
    """Every parent is there."""
    for orphan in facts.forest.orphans:
        key = parent_key_of(orphan)
        yield Place(orphan, f"parent {key[1] if key else ''} is not among the spans", (orphan,))


def unique_span_ids(facts: Facts) -> Iterator[Place]:
    """Different spans have different ids. A span that was exported again, unchanged, is the same span."""
    for twice in facts.forest.duplicates:
        if not twice.identical:
            detail = f"{len(twice.different)} different spans have this id"
            yield Place(twice.copies[0], detail, twice.different[:_EVIDENCE_MAX])


def no_cycles(facts: Facts) -> Iterator[Place]:
    """No span is its own ancestor."""
    for loop in facts.forest.loops:
        detail = "is its own parent" if len(loop) == 1 else f"{len(loop)} spans are each other's ancestors"
        yield Place(loop[0], detail, loop[:_EVIDENCE_MAX])
