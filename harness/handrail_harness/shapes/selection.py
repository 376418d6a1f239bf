"""What a query gives: some of a run's steps, decisions or effects. An empty one never lets an assertion pass.

Whatever uses an empty selection (a loop, `len`, `assert`, an attribute of its only member) raises
`EmptySelection`, which names what is there instead. That something did not happen is said by `absent()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from handrail_harness.errors import EmptySelection, RelationFailed, RunAssertion
from handrail_harness.shapes.matching import near_misses
from handrail_harness.shapes.steps import Step
from handrail_harness.shapes.values import refuse_other_words

T = TypeVar("T")


class Selection(Generic[T]):
    """Members in the order in which they began; `what` is how the query was written."""

    def __init__(
        self,
        what: str,
        members: Sequence[T],
        *,
        instead: Callable[[], str],
        known: Callable[[], str] = lambda: "",
    ) -> None:
        self._what = what
        self._members = tuple(members)
        self._instead = instead
        self._known = known

    def __iter__(self) -> Iterator[T]:
        __tracebackhide__ = True
        return iter(self._some())

    def __len__(self) -> int:
        __tracebackhide__ = True
        return len(self._some())

    def __bool__(self) -> bool:
        __tracebackhide__ = True
        return bool(self._some())

    def __contains__(self, member: object) -> bool:
        __tracebackhide__ = True
        if isinstance(member, str):  # is in none, so that `not in` would pass whatever happened
            raise TypeError(
                f"{self._what} holds steps, not names; query {member!r} by name, and its absent()"
            )
        return member in self._some()

    def __getitem__(self, at: int) -> T:
        __tracebackhide__ = True
        return self._some()[at]

    def __repr__(self) -> str:
        return f"<{self._what}: {len(self._members)}>"

    def only(self) -> T:
        """Return the single member; raises `RunAssertion` when there are several."""
        __tracebackhide__ = True
        members = self._some()
        if len(members) > 1:
            raise RunAssertion(f"{self._what} has {len(members)} members, not one; narrow it with where()")
        return members[0]

    def where(self, **facts: Any) -> Selection[T]:
        """Return those whose attributes have these values: `.where(disposition="denied")`.

        Raises `ValueError` for a value that such an attribute never has.
        """
        __tracebackhide__ = True
        refuse_other_words(facts)
        told = ", ".join(f"{name}={value!r}" for name, value in facts.items())
        kept = [one for one in self._members if all(getattr(one, name) == facts[name] for name in facts)]

        def instead() -> str:
            if not self._members:
                return self._instead()
            seen = {name: sorted({str(getattr(one, name)) for one in self._members}) for name in facts}
            return "there is " + "; ".join(f"{name} {', '.join(seen[name])}" for name in facts)

        return Selection(f"{self._what}.where({told})", kept, instead=instead, known=self._known)

    def times(self, number: int) -> Selection[T]:
        """Assert that there are exactly so many, and return them; raises `RunAssertion`."""
        __tracebackhide__ = True
        if number == 0:
            return self.absent()
        if len(self._some()) != number:
            raise RunAssertion(f"{self._what} has {len(self._members)} members, wanted {number}")
        return self

    def absent(self) -> Selection[T]:
        """Assert that there is none; raises `RunAssertion`, also for a name that cannot occur in this run."""
        __tracebackhide__ = True
        if self._members:
            raise RunAssertion(f"{self._what} should have no member, it has {len(self._members)}")
        unknown = self._known()
        if unknown:
            raise RunAssertion(f"{self._what} cannot have a member: {unknown}")
        return self

    def _some(self) -> tuple[T, ...]:
        __tracebackhide__ = True
        if not self._members:
            raise EmptySelection(
                f"{self._what} is empty: {self._instead()}; absent() asserts that there is none"
            )
        return self._members


class StepSelection(Selection[Step]):
    """Steps, and how they relate to one another. A relation that does not hold raises `RelationFailed`.

    `unknown` tells why no run can have a step of a kind and a name, `""` where one can.
    """

    def __init__(
        self,
        what: str,
        members: Sequence[Step],
        *,
        instead: Callable[[], str],
        known: Callable[[], str] = lambda: "",
        unknown: Callable[[str, str], str] = lambda kind, name: "",
    ) -> None:
        super().__init__(what, members, instead=instead, known=known)
        self._unknown = unknown

    def where(self, **facts: Any) -> StepSelection:
        """Return those whose attributes have these values: `.where(disposition="denied")`."""
        __tracebackhide__ = True
        found = super().where(**facts)
        return StepSelection(
            found._what, found._members, instead=found._instead, known=self._known, unknown=self._unknown
        )

    def delegated_to(self, name: str) -> StepSelection:
        """Return the steps called `name` that these handed off directly."""
        __tracebackhide__ = True
        sent = [one for step in self._some() for one in handed_off_by(step)]
        return StepSelection(
            f"{self._what}.delegated_to({name!r})",
            [one for one in sent if one.name == name],
            instead=lambda: near_misses(name, sent),
            known=lambda: self._unknown("handoff", name),
            unknown=self._unknown,
        )

    def before(self, other: Selection[Step]) -> bool:
        """Assert that each of these had ended when the first of `other` began, by the clocks of the spans."""
        __tracebackhide__ = True
        last = max(self, key=lambda step: step.end_unix_nano)
        first = min(other, key=lambda step: step.start_unix_nano)
        late = last.end_unix_nano - first.start_unix_nano
        if late > 0:
            raise RelationFailed(
                f"{self._what} was not before {other!r}: {last.label()} ended {late / 1e6:.3f} ms after "
                f"{first.label()} began",
                (last.span, first.span),
            )
        return True


def handed_off_by(step: Step) -> list[Step]:
    """Return the hand-offs that a step made itself, also from within its tools."""
    found: list[Step] = []
    todo = list(reversed(step.children))
    while todo:
        child = todo.pop()
        if child.handed_off:
            found.append(child)
        elif child.kind != "agent":
            todo.extend(reversed(child.children))
    return found


def along(steps: Sequence[Step], path: Sequence[str]) -> list[Step]:
    """Return the steps that end a chain of these names, each directly inside the one before."""
    wanted = tuple(path)
    return [step for step in steps if step.path[-len(wanted) :] == wanted]
