"""Waivers: a breach that is known and accepted, with the reason; one that excuses nothing is a failure itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from handrail_harness.rules.base import Breach, InvariantName, refuse_unknown
from handrail_harness.spans import Span


@dataclass(frozen=True, slots=True)
class Waiver:
    """Excuses breaches of one invariant, all of them or those at certain spans."""

    invariant: InvariantName
    reason: str
    where: str | Callable[[Span], bool] | None = None

    def covers(self, breach: Breach) -> bool:
        """Return whether this waiver excuses the breach."""
        if breach.invariant != self.invariant:
            return False
        if self.where is None:
            return True
        if callable(self.where):
            return bool(self.where(breach.span))
        return fnmatchcase(breach.span.name, self.where)

    def __str__(self) -> str:
        place = f" at {self.where}" if isinstance(self.where, str) else ""
        return f"{self.invariant}{place}: {self.reason}"


def waive(name: InvariantName, *, reason: str, where: str | Callable[[Span], bool] | None = None) -> Waiver:
    """Return a waiver of the invariant `name`.

    `where` narrows it: a pattern for the span's name (`send *`), or a function of the span. Raises
    `ValueError` for a name that is none, and without a reason.
    """
    refuse_unknown([name])
    if not reason.strip():
        raise ValueError(f"a waiver of {name} needs a reason: say why the breach is accepted")
    return Waiver(name, reason.strip(), where)


@dataclass(frozen=True, slots=True)
class Waived:
    """What waivers leave: the breaches that stand, those that are excused, the waivers that excused nothing."""

    standing: tuple[Breach, ...]
    excused: tuple[tuple[Breach, Waiver], ...]
    unused: tuple[Waiver, ...]


def apply(waivers: Sequence[Waiver], breaches: Iterable[Breach]) -> Waived:
    """Sort breaches by whether a waiver covers them (the first that does counts as used, and every other one, too)."""
    standing: list[Breach] = []
    excused: list[tuple[Breach, Waiver]] = []
    used: set[int] = set()
    for breach in breaches:
        covering = [waiver for waiver in waivers if waiver.covers(breach)]
        used.update(id(waiver) for waiver in covering)
        if covering:
            excused.append((breach, covering[0]))
        else:
            standing.append(breach)
    unused = tuple(waiver for waiver in waivers if id(waiver) not in used)
    return Waived(tuple(standing), tuple(excused), unused)
