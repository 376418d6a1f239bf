"""Messages whose trace is looked at afterwards: what tasks do in the field, each as a task of `tasks`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from handrail_harness.conformance import tasks

CANARY: Final = "zanzibar-4711 is nobody's business"
"""The text that failing tasks fail with; it may be in no span."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A message to start with, and how many deliveries its trace has to show.

    The text `{queue}` as an argument stands for the worker's queue. `received` is `None` where it is not known, as
    for a task of the user's own; `failures` are the deliveries that fail.
    """

    name: str
    task: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    received: int | None = None
    failures: int = 0

    def arguments(self, queue: str) -> tuple[Any, ...]:
        """Return the arguments for a worker that reads `queue`."""
        return tuple(queue if one == "{queue}" else one for one in self.args)


SCENARIOS: Final = (
    Scenario("alone", tasks.LEAF, received=1),
    Scenario("fan_out", tasks.FAN_OUT, ("{queue}", [3, 2]), received=10),
    Scenario("chain", tasks.CHAIN, ("{queue}", 3), received=4),
    Scenario("retry", tasks.RETRY, (CANARY, 2), received=3, failures=2),
    Scenario("failure", tasks.FAIL, (CANARY,), received=1, failures=1),
)
