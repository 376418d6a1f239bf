"""What breaking a run in one place is made of: which spans there are to choose from, and the run with one changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from handrail_harness.forest import build
from handrail_harness.spans import Span

Broken = tuple[list[Span], str, str]
"""The spans, the name of what must be found, and the id of the span where."""
Pick = Callable[[Sequence[Span]], Span]
Fault = Callable[[Sequence[Span], Pick], Broken]
"""Breaks one of the places where it can strike: `pick` chooses, at random or not."""

OTHER_TRACE = f"{0xBEEF:032x}"
NOBODY = "00000000deadbeef"


def below(spans: Sequence[Span], top: Span) -> set[str]:
    """Return the ids of a span and everything below it."""
    forest = build(spans)
    found, todo = set(), [top]
    while todo:
        span = todo.pop()
        found.add(span.span_id)
        todo.extend(forest.children_of(span))
    return found


def of_kind(spans: Sequence[Span], kind: str) -> list[Span]:
    """Return the spans of a kind."""
    return [span for span in spans if span.kind == kind]


def child_of(spans: Sequence[Span], parent: Span) -> Span:
    """Return the first span below another."""
    return next(span for span in spans if span.parent_span_id == parent.span_id)


def tools(spans: Sequence[Span]) -> list[Span]:
    """Return the spans of tool calls."""
    return [span for span in spans if span.name.startswith("execute_tool")]


def changed(spans: Sequence[Span], one: Span) -> list[Span]:
    """Return the spans with another one in place of the one that has its id."""
    return [one if span.span_id == one.span_id else span for span in spans]


def with_attributes(spans: Sequence[Span], which: Span, changes: dict[str, str | bool | None]) -> list[Span]:
    """Return the spans with one's attributes changed; `None` takes an attribute away."""
    merged = {key: value for key, value in ({**which.attributes, **changes}).items() if value is not None}
    return [replace(span, attributes=merged) if span is which else span for span in spans]
