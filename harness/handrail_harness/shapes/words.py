"""The words that shapes are written in. Plain values: nothing of OpenTelemetry or Celery is imported here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

ShapeKind = Literal["agent", "handoff", "task", "tool"]
FactValue = str | int | bool


class How(TypedDict, total=False):
    """How strictly a shape is compared with what is inside a step."""

    in_order: bool
    exact: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """One step that a run should have, and what should be directly inside it.

    `times` is how many such siblings there are: `None` at least one, 0 none at all. `exact` allows nothing
    inside that is not listed, `in_order` asks for the listed order; both hold for this step's own inside.
    """

    kind: ShapeKind
    name: str
    inside: tuple[Shape, ...] = ()
    times: int | None = None
    in_order: bool = False
    exact: bool = False
    facts: tuple[tuple[str, FactValue], ...] = ()

    def __post_init__(self) -> None:
        if self.times is not None and self.times < 0:
            raise ValueError(f"{self.kind} {self.name!r}: times={self.times}; give 0 or more")
        for one in self.inside:
            if not isinstance(one, Shape):
                raise TypeError(
                    f"{self.kind} {self.name!r}: {one!r} inside it is no shape; use agent(), handoff(), tool()"
                )

    def __str__(self) -> str:
        facts = "".join(f", {name}={value!r}" for name, value in self.facts)
        times = "" if self.times is None else f", times={self.times}"
        return f"{self.kind}({self.name!r}{facts}{times})"

    def text(self, indent: str = "") -> str:
        """Return the shape as indented lines, as failures show what was wanted."""
        facts = [f"{name} {value}" for name, value in self.facts]
        if self.times is not None:
            facts.append(f"x{self.times}")
        facts += ["exact"] * self.exact + ["in order"] * self.in_order
        line = f"{indent}{self.kind} {self.name}" + (f"  {', '.join(facts)}" if facts else "")
        return "\n".join([line, *(one.text(indent + "  ") for one in self.inside)])


def agent(name: str, *inside: Shape, times: int | None = None, **how: Unpack[How]) -> Shape:
    """An agent at work, however it was reached, and what it does."""
    return Shape("agent", name, inside, times, **how)


def handoff(
    name: str, *inside: Shape, times: int | None = None, attempts: int | None = None, **how: Unpack[How]
) -> Shape:
    """A message to another agent or task, and what that does; `attempts` is how often it was delivered."""
    return Shape("handoff", name, inside, times, facts=_facts(attempts=attempts), **how)


def task(
    name: str, *inside: Shape, times: int | None = None, attempts: int | None = None, **how: Unpack[How]
) -> Shape:
    """A message for a Celery task that is no agent, by the task's name, and what that does."""
    return Shape("task", name, inside, times, facts=_facts(attempts=attempts), **how)


def tool(
    name: str,
    *inside: Shape,
    times: int | None = None,
    disposition: str | None = None,
    risk: str | None = None,
    result: str | None = None,
    **how: Unpack[How],
) -> Shape:
    """A tool call; `disposition`, `risk` and `result` are the attributes `agent.tool.disposition`,
    `agent.decision.risk` and `agent.tool.result_status`.
    """
    facts = _facts(disposition=disposition, risk=risk, result=result)
    return Shape("tool", name, inside, times, facts=facts, **how)


def forbidden(shapes: Iterable[Shape]) -> Iterator[Shape]:
    """Yield the shapes that say that something is not there, wherever they stand."""
    for shape in shapes:
        if shape.times == 0:
            yield shape
        yield from forbidden(shape.inside)


def _facts(**facts: FactValue | None) -> tuple[tuple[str, FactValue], ...]:
    given = tuple((name, value) for name, value in facts.items() if value is not None)
    if given:
        from handrail_harness.shapes.values import refuse_other_words

        refuse_other_words(dict(given))
    return given
