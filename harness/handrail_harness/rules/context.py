"""Invariants of what travels with the trace context: the sampling decision, and the run's id in the baggage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from handrail_harness.printable import printable
from handrail_harness.rules.base import Place
from handrail_harness.rules.facts import Facts
from handrail_harness.spans import Span
from handrail_propagation.conventions import RUN_ID

_TRACE_FLAGS: Final = 0xFF  # OTLP Span.flags: bits 0-7 are the W3C trace flags
_SAMPLED: Final = 0x01
_PROCESS: Final = (
    "service.name",
    "service.instance.id",
    "host.name",
    "process.pid",
    "telemetry.sdk.language",
)


def sampled_alike(facts: Facts) -> Iterator[Place]:
    """All of a trace was sampled by one decision: the flag and the threshold do not change on the way down.

    Read from `Span.flags`, of exporters that write the W3C flags there (Python's does not), and from the
    consistent-probability member `ot` of the tracestate.
    """
    writers = {_process(span) for span in facts.spans if span.flags & _TRACE_FLAGS}
    if not writers and not any(span.trace_state for span in facts.spans):
        return
    for span, parent in facts.edges():
        if writers and {_process(span), _process(parent)} <= writers:
            own, above = span.flags & _SAMPLED, parent.flags & _SAMPLED
            if own != above:
                said = ("not sampled", "sampled")
                yield Place(span, f"is {said[own]}, its parent {said[above]}", (span, parent))
                continue
        if span.trace_state != parent.trace_state and (theirs := _threshold(parent)):
            ours = _threshold(span)
            if ours != theirs:
                detail = f"sampling threshold {ours or '(none)'} where its parent has {theirs}"
                yield Place(span, detail, (span, parent))


def baggage_arrived(facts: Facts) -> Iterator[Place]:
    """The run's id, which travels as baggage, is on every span below one that has it, unchanged."""
    for span, parent in facts.edges():
        above = parent.attributes.get(RUN_ID)
        if above is not None and span.attributes.get(RUN_ID) != above:
            own = span.text(RUN_ID)
            detail = f"{RUN_ID} is {printable(own, 40) if own else 'missing'}, its parent has {printable(above, 40)}"
            yield Place(span, detail, (span, parent))


def _process(span: Span) -> tuple[object, ...]:
    return tuple(span.resource.get(key) for key in _PROCESS)


def _threshold(span: Span) -> str:
    """Return `th` of the tracestate's `ot` member, or `""` (OpenTelemetry, TraceState: probability sampling)."""
    for member in span.trace_state.split(","):
        key, _, value = member.strip().partition("=")
        if key == "ot":
            for part in value.split(";"):
                name, _, text = part.partition(":")
                if name == "th":
                    return text
    return ""
