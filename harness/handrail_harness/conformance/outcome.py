"""What a conformance run found: a row for each requirement, grouped, with what was expected and what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from handrail_harness.printable import printable

Group = Literal["w3c", "messages", "conventions", "tree"]
State = Literal["passed", "failed", "skipped"]

GROUPS: Final[dict[Group, str]] = {
    "w3c": "W3C Trace Context, Level 2, through the queue",
    "messages": "What becomes of messages",
    "conventions": "Messaging and GenAI conventions",
    "tree": "Invariants of the trace tree",
}
_SEEN_MAX: Final = 400


@dataclass(frozen=True, slots=True)
class Outcome:
    """One requirement: its `name` in its group, what is `expected`, and what was `seen` that breaks it.

    `source` is where it is from, such as a section of a standard; `skipped` says why it could not be judged.
    """

    group: Group
    name: str
    expected: str
    seen: tuple[str, ...] = ()
    source: str = ""
    skipped: str = ""

    @property
    def id(self) -> str:
        """Group and name, such as `w3c/traceparent_twice`."""
        return f"{self.group}/{self.name}"

    @property
    def state(self) -> State:
        """Whether it holds; what could not be judged neither passed nor failed."""
        return "failed" if self.seen else "skipped" if self.skipped else "passed"

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "id": self.id,
            "state": self.state,
            "expected": self.expected,
            "seen": [printable(one, _SEEN_MAX) for one in self.seen],
            "source": self.source or None,
            "skipped": self.skipped or None,
        }


@dataclass(frozen=True, slots=True)
class Conformance:
    """Every outcome of a run against `app`, in the order of the report; `seconds` it took."""

    app: str
    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing failed, and something passed."""
        return not self.count("failed") and self.count("passed") > 0

    def count(self, state: State) -> int:
        """Return how many outcomes are in a state."""
        return sum(outcome.state == state for outcome in self.outcomes)

    def groups(self) -> Iterator[tuple[Group, list[Outcome]]]:
        """Yield each group that has outcomes, with them."""
        for group in GROUPS:
            if found := [outcome for outcome in self.outcomes if outcome.group == group]:
                yield group, found

    def document(self) -> dict[str, Any]:
        """Return the whole report as JSON values."""
        states: tuple[State, ...] = ("passed", "failed", "skipped")
        return {
            "app": self.app,
            "passes": self.passed,
            "seconds": round(self.seconds, 1),
            **{state: self.count(state) for state in states},
            "outcomes": [outcome.document() for outcome in self.outcomes],
        }
