"""Invariants of what travels with the trace context: the sampling decision, and the run's id in the baggage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from handrail_harness.identities import Positions
from handrail_harness.looks import TRACE_FLAGS
from handrail_harness.printable import printable
from handrail_harness.rules.base import Place
from handrail_harness.rules.facts import Facts, positions_of
from handrail_harness.rules.screened import Screened
from handrail_harness.spans import Span
from handrail_propagation.conventions import RUN_ID

_SAMPLED: Final = 0x01
_PROCESS: Final = (
    "service.name",
    "service.instance.id",
    "host.name",
    "process.pid",
    "telemetry.sdk.language",
)


def _sampling_may_differ(facts: Facts) -> Positions:
    spans, columns = facts.spans, facts.columns
    if not any(span.trace_state or span.flags & TRACE_FLAGS for span in columns.at(facts.unusual)):
        return positions_of(())
    edges = columns.edges
    parent = columns.parent[edges]
    sampled = np.fromiter((span.flags & _SAMPLED for span in spans), np.int8, len(spans))
    states: dict[str, int] = {}
    state = np.fromiter(
        (states.setdefault(span.trace_state, len(states)) for span in spans), np.intp, len(spans)
    )
    found: Positions = edges[(sampled[edges] != sampled[parent]) | (state[edges] != state[parent])]
    return found


def _sampling(facts: Facts, positions: Sequence[int]) -> Iterator[Place]:
    """All of a trace was sampled by one decision: the flag and the threshold do not change on the way down.

    Read from `Span.flags`, of exporters that write the W3C flags there (Python's does not), and from the
    consistent-probability member `ot` of the tracestate.
    """
    writers = {_process(span) for span in facts.spans if span.flags & TRACE_FLAGS}
    for at, above_at in facts.with_parents(positions):
        span, parent = facts.spans[at], facts.spans[above_at]
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


sampled_alike: Final = Screened(_sampling_may_differ, _sampling)


def _run_may_differ(facts: Facts) -> Positions:
    columns = facts.columns
    numbers: dict[str, int] = {}
    of_look = np.zeros(len(columns.looks), np.intp)  # 0: no run id; -1: none that is a short text
    for at, look in enumerate(columns.looks):
        if RUN_ID in look.keys:
            told = look.told.get(RUN_ID)
            of_look[at] = -1 if told is None else numbers.setdefault(told, len(numbers) + 1)
    run = of_look[columns.look]
    edges = columns.edges
    above = run[columns.parent[edges]]
    found: Positions = edges[(above < 0) | ((above > 0) & (run[edges] != above))]
    return found


def _baggage(facts: Facts, positions: Sequence[int]) -> Iterator[Place]:
    """The run's id, which travels as baggage, is on every span below one that has it, unchanged."""
    for at, above_at in facts.with_parents(positions):
        span, parent = facts.spans[at], facts.spans[above_at]
        above = parent.attributes.get(RUN_ID)
        if above is not None and span.attributes.get(RUN_ID) != above:
            own = span.text(RUN_ID)
            detail = f"{RUN_ID} is {printable(own, 40) if own else 'missing'}, its parent has {printable(above, 40)}"
            yield Place(span, detail, (span, parent))


baggage_arrived: Final = Screened(_run_may_differ, _baggage)


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
