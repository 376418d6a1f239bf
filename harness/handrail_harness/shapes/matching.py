"""Does a run have the shape that was asked for? If not: the nearest miss, in words and as spans to mark."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from handrail_harness.shapes.steps import Step, Steps
from handrail_harness.shapes.words import Shape
from handrail_harness.spans import Span

_DEEP = 3
"""So many levels of a near miss are told; below that the tree shows it."""
_ANYTHING = ("agent", "task", "tool")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that is not as it was asked for, and the span where."""

    text: str
    span: Span | None = None


def mismatches(
    wanted: Sequence[Shape], steps: Steps, *, in_order: bool = False, exact: bool = False
) -> list[Mismatch]:
    """Return what keeps the run from having these shapes side by side at its top; empty when it has them."""
    return _Matcher(steps).inside(wanted, steps.tops, None, in_order=in_order, exact=exact)


def is_kind(shape: Shape, step: Step) -> bool:
    """Return whether a step is of the kind that a shape asks for."""
    if shape.kind == "handoff":
        return step.handed_off
    return step.kind == shape.kind


class _Matcher:
    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._known: dict[tuple[int, int], bool] = {}

    def fits(self, shape: Shape, step: Step) -> bool:
        """Return whether a step, with what is inside it, has the shape."""
        key = (id(shape), id(step))
        if key not in self._known:
            self._known[key] = not self._differences(shape, step, 0)
        return self._known[key]

    def inside(
        self,
        wanted: Sequence[Shape],
        found: Sequence[Step],
        around: Step | None,
        *,
        in_order: bool,
        exact: bool,
        depth: int = 0,
    ) -> list[Mismatch]:
        """Return what keeps these steps, which are side by side, from having the wanted shapes."""
        steps = [step for step in found if step.kind in _ANYTHING]
        slots = [shape for shape in wanted for _ in range(1 if shape.times is None else shape.times)]
        taken = self._in_order(slots, steps) if in_order else self._in_any_order(slots, steps)
        free = [step for at, step in enumerate(steps) if at not in taken.values()]
        problems: list[Mismatch] = []
        for shape in dict.fromkeys(wanted):
            missing = sum(slots[at] == shape for at in range(len(slots)) if at not in taken)
            if missing:
                problems += self._missing(shape, missing, free, steps, around, depth, in_order=in_order)
        for shape in dict.fromkeys(one for one in wanted if one.times is not None):
            more = [step for step in free if self.fits(shape, step)]
            if more:
                text = f"{shape} wanted{_in(around)}, found {(shape.times or 0) + len(more)}"
                problems.append(Mismatch(text, more[-1].span))
                free = [step for step in free if step not in more]
        if exact and not problems:
            problems += [
                Mismatch(f"{step.label()} was not asked for{_in(around)}", step.span) for step in free
            ]
        return problems

    def _in_any_order(self, slots: Sequence[Shape], steps: Sequence[Step]) -> dict[int, int]:
        """Return slot → step for as many slots as possible, each step used once (augmenting paths)."""
        taken_by: dict[int, int] = {}

        def place(slot: int, tried: set[int]) -> bool:
            for at, step in enumerate(steps):
                if at in tried or not self.fits(slots[slot], step):
                    continue
                tried.add(at)
                if at not in taken_by or place(taken_by[at], tried):
                    taken_by[at] = slot
                    return True
            return False

        for slot in range(len(slots)):
            place(slot, set())
        return {slot: at for at, slot in taken_by.items()}

    def _in_order(self, slots: Sequence[Shape], steps: Sequence[Step]) -> dict[int, int]:
        """Return slot → step with each slot's step after that of the slot before."""
        taken: dict[int, int] = {}
        start = 0
        for slot, shape in enumerate(slots):
            at = next((at for at in range(start, len(steps)) if self.fits(shape, steps[at])), None)
            if at is not None:
                taken[slot], start = at, at + 1
        return taken

    def _differences(self, shape: Shape, step: Step, depth: int) -> list[Mismatch]:
        if not is_kind(shape, step):
            return [Mismatch(f"{step.label()} is no {shape.kind}", step.span)]
        if step.name != shape.name:
            return [Mismatch(f"{step.label()} is not {shape.name!r}", step.span)]
        found = []
        for name, value in shape.facts:
            actual = getattr(step, name)
            if actual != value:
                text = f"{name} of {step.label()} is {actual!r}, wanted {value!r}"
                found.append(Mismatch(text, step.span))
        return found + self.inside(
            shape.inside, step.children, step, in_order=shape.in_order, exact=shape.exact, depth=depth + 1
        )

    def _missing(
        self,
        shape: Shape,
        missing: int,
        free: Sequence[Step],
        steps: Sequence[Step],
        around: Step | None,
        depth: int,
        *,
        in_order: bool,
    ) -> list[Mismatch]:
        fitting = [step for step in steps if self.fits(shape, step)]
        if in_order and len(fitting) >= (shape.times or 1):
            return [Mismatch(f"{shape} is not in the order that was asked for{_in(around)}", fitting[0].span)]
        alike = [step for step in free if is_kind(shape, step) and step.name == shape.name]
        if alike and depth < _DEEP:
            return min((self._differences(shape, step, depth) for step in alike), key=len)
        wanted = shape.times or 1
        lacking = "" if wanted == 1 else f", found {wanted - missing} of {wanted}"
        text = f"no {shape}{_in(around)}{lacking}"
        elsewhere = next(
            (
                one
                for one in self._steps.all
                if is_kind(shape, one) and one.name == shape.name and one not in steps
            ),
            None,
        )
        if elsewhere is not None:
            where = f"inside {elsewhere.parent.label()}" if elsewhere.parent else "at the top"
            return [Mismatch(f"{text}; one is {where}", elsewhere.span)]
        there = [step for step in steps if is_kind(shape, step)] or list(steps)
        return [
            Mismatch(f"{text}; {near_misses(shape.name, there)}", _span(around or next(iter(steps), None)))
        ]


def near_misses(name: str, steps: Sequence[Step]) -> str:
    """Return a phrase about what is there instead of `name`: names like it first, at most five."""
    counts: dict[str, int] = {}
    for step in steps:
        counts[step.label()] = counts.get(step.label(), 0) + 1
    if not counts:
        return "there is nothing of the kind"
    close = difflib.get_close_matches(name, {step.name for step in steps}, n=2, cutoff=0.6)
    labels = [label if number == 1 else f"{label} x{number}" for label, number in counts.items()]
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    meant = f"did you mean {' or '.join(repr(one) for one in close)}? " if close and name not in close else ""
    return f"{meant}there is {', '.join(labels[:5])}{more}"


def _in(around: Step | None) -> str:
    return f" in {around.label()}" if around is not None else " at the top"


def _span(step: Step | None) -> Span | None:
    return step.span if step is not None else None
