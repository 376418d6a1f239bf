"""The invariant that content stays home: no prompt, answer, argument, result or exception text on a span."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from handrail_harness.identities import Positions
from handrail_harness.rules.base import Place
from handrail_harness.rules.facts import Facts, positions_of
from handrail_harness.rules.screened import Screened
from handrail_harness.spans import Attributes, Span
from handrail_propagation import conventions as c

CONTENT_ATTRIBUTES: Final = frozenset(
    {
        c.GEN_AI_INPUT_MESSAGES,
        c.GEN_AI_OUTPUT_MESSAGES,
        c.GEN_AI_SYSTEM_INSTRUCTIONS,
        c.GEN_AI_TOOL_CALL_ARGUMENTS,
        c.GEN_AI_TOOL_CALL_RESULT,
        # Earlier names of the same, which instrumentations in the field still write
        "gen_ai.prompt",
        "gen_ai.completion",
        "gen_ai.event.content",
        "input.value",
        "output.value",
        # What Celery and its stock instrumentation know of arguments and results
        "celery.args",
        "celery.kwargs",
        "celery.argsrepr",
        "celery.kwargsrepr",
        "celery.result",
        # The text of an exception quotes whatever the code was at
        "exception.message",
        "exception.stacktrace",
        "celery.retry.reason",
        "celery.revoked.reason",
    }
)
"""Attributes that hold content, on a span or on one of its events. Log-based events may carry it, redacted."""

_PREFIXES: Final = ("gen_ai.prompt.", "gen_ai.completion.", "llm.input_messages.", "llm.output_messages.")
_TYPE: Final = re.compile(r"[\w.:<>\[\]-]{1,128}")
"""The name of a type or a reason: one word. Text has blanks in it."""


def _may_hold_content(facts: Facts) -> Positions:
    spans = facts.spans
    found = [at for at in facts.unusual if spans[at].events or spans[at].status_message]
    for layout in facts.layouts:
        if _content_keys(layout.look.keys):
            found += layout.positions.tolist()
    return positions_of(found)


def _content(facts: Facts, positions: Sequence[int]) -> Iterator[Place]:
    """Content is in no span attribute, span event or status description."""
    for span in facts.columns.at(positions):
        if _content_keys(tuple(span.attributes)):
            yield from _on(span, span.attributes, "")
        for event in span.events:
            if _content_keys(tuple(event.attributes)):
                yield from _on(span, event.attributes, f" of event {event.name[:60]!r}")
        if span.status_message and not _TYPE.fullmatch(span.status_message):
            yield Place(
                span,
                "its status description is text; the type of the error is all that belongs there",
                (span,),
            )


no_content_in_attributes: Final = Screened(_may_hold_content, _content)


def _on(span: Span, attributes: Attributes, where: str) -> Iterator[Place]:
    for key in _content_keys(tuple(attributes)):
        if attributes[key] not in ("", None):
            yield Place(span, f"attribute {key}{where} holds content", (span,))


@lru_cache(maxsize=4096)
def _content_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the keys that hold content. Spans of one kind have the same keys, so few are looked at."""
    return tuple(key for key in keys if key in CONTENT_ATTRIBUTES or key.startswith(_PREFIXES))
