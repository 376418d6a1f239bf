"""Checks of single spans in two steps: a screen over all spans at once, an explanation of the few that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from handrail_harness.identities import Positions
from handrail_harness.rules.base import Place
from handrail_harness.rules.facts import Facts


@dataclass(frozen=True, slots=True)
class Screened:
    """A check that looks closely at suspects only.

    `screen` returns the position of every span at which the invariant may not hold: it may name too many, never
    too few. `explain` looks at those and decides. Explaining every span gives the same places; a test keeps it so.
    """

    screen: Callable[[Facts], Positions]
    explain: Callable[[Facts, Sequence[int]], Iterable[Place]]

    def __call__(self, facts: Facts) -> Iterable[Place]:
        """Return every place where the invariant does not hold."""
        suspects = self.screen(facts)
        return self.explain(facts, suspects.tolist()) if len(suspects) else ()
