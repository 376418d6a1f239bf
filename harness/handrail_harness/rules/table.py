"""The list of all invariants, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from handrail_harness.collector import paused_collector
from handrail_harness.rules import content, context, decisions, delivery, placement, semconv, tree
from handrail_harness.rules.base import NAMES, Breach, Invariant, InvariantName
from handrail_harness.rules.facts import Facts

INVARIANTS: Final[dict[InvariantName, Invariant]] = {
    one.name: one
    for one in (
        # One unified tree: these make the verdict of `check`
        Invariant("one_trace", "all spans of the run are in one trace", "final", True, tree.one_trace),
        Invariant("one_root", "there is one root", "final", True, tree.one_root),
        Invariant("no_orphans", "every parent is there", "healing", True, tree.no_orphans),
        Invariant(
            "unique_span_ids", "different spans have different ids", "final", True, tree.unique_span_ids
        ),
        Invariant("no_cycles", "no span is its own ancestor", "final", True, tree.no_cycles),
        Invariant(
            "handoff_received",
            "every message sent was received below its send",
            "healing",
            True,
            delivery.handoff_received,
        ),
        Invariant(
            "consumer_has_handoff",
            "every message received hangs below a send",
            "final",
            True,
            delivery.consumer_has_handoff,
        ),
        Invariant(
            "handoff_same_message",
            "send and receipt are of the same message",
            "final",
            True,
            delivery.handoff_same_message,
        ),
        # Healing: what an agent's later segment is linked to may still be on its way
        Invariant(
            "lineage_agrees",
            "the queue's own lineage says the same as the tree",
            "healing",
            True,
            delivery.lineage_agrees,
        ),
        # What a run does besides being one tree
        Invariant(
            "handoff_once",
            "no message was processed again after success",
            "final",
            False,
            delivery.handoff_once,
        ),
        Invariant(
            "allowed_parent",
            "every span hangs where one of its kind may",
            "final",
            False,
            placement.allowed_parent,
        ),
        Invariant(
            "inside_parent",
            "every span lies within the time of a parent that waits for it",
            "final",
            False,
            placement.inside_parent,
        ),
        Invariant(
            "decision_before_action",
            "what changes something was decided, and recorded, before it began",
            "final",
            False,
            decisions.decision_before_action,
        ),
        Invariant(
            "no_content_in_attributes",
            "no prompt, argument, result or exception text is on a span",
            "final",
            False,
            content.no_content_in_attributes,
        ),
        Invariant(
            "sampled_alike",
            "one sampling decision holds for the whole trace",
            "final",
            False,
            context.sampled_alike,
        ),
        Invariant(
            "baggage_arrived",
            "the run's id is on every span below one that has it",
            "final",
            False,
            context.baggage_arrived,
        ),
        Invariant(
            "conventions",
            "names, kinds and required attributes follow the conventions",
            "final",
            False,
            semconv.conventions,
        ),
    )
}
"""Every invariant by name. `standing` is what a breach is where its check does not say otherwise."""

UNIFYING: Final[tuple[InvariantName, ...]] = tuple(name for name, one in INVARIANTS.items() if one.unifies)
"""Those that make up "one unified tree"."""

if tuple(INVARIANTS) != NAMES:  # pragma: no cover - a mistake in this file
    raise AssertionError("the table of invariants and their names differ")


def breaches_of(facts: Facts, names: Iterable[InvariantName] = NAMES) -> tuple[Breach, ...]:
    """Return every breach of the named invariants (default: all), in the order of the table."""
    wanted = set(names)
    with paused_collector():
        return tuple(
            breach
            for name, invariant in INVARIANTS.items()
            if name in wanted
            for breach in invariant.breaches(facts)
        )
