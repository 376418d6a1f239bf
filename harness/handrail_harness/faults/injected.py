"""What has been injected, and where it bit: the record that a failed test shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

from handrail_harness.errors import FaultDidNotBite

Place = Literal["producer", "broker", "worker", "telemetry", "infrastructure"]
_POLL = 0.02  # seconds
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Bite:
    """One time that a fault took effect: on which message, in which process, or on what else."""

    detail: dict[str, str | int]

    def __str__(self) -> str:
        return ", ".join(f"{key} {value}" for key, value in self.detail.items())


@dataclass(slots=True)
class Injected:
    """A fault in force; a context manager that undoes it at its end, `undo()` does so earlier.

    `verb` is the method of `Faults`, `place` where it bites, `what` on what it was aimed.
    """

    verb: str
    place: Place
    what: str
    _bites: Callable[[], Sequence[Bite]]
    _undo: Callable[[], None] = field(default=lambda: None)
    _undone: bool = False

    @property
    def bites(self) -> tuple[Bite, ...]:
        """Every time that it took effect, so far."""
        return tuple(self._bites())

    def wait(self, times: int = 1, *, timeout: float = 30.0) -> tuple[Bite, ...]:
        """Wait until it has bitten `times` times; raises `FaultDidNotBite` after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while len(bites := self.bites) < times:
            if time.monotonic() >= deadline:
                raise FaultDidNotBite(f"after {timeout:g} s: {self}; wanted {times}")
            time.sleep(_POLL)
        return bites

    def undo(self) -> None:
        """Take the fault away; nothing happens the second time."""
        if not self._undone:
            self._undone = True
            self._undo()

    def __enter__(self) -> Injected:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()

    def __str__(self) -> str:
        bites = self.bites
        shown = "; ".join(str(bite) for bite in bites[:_SHOWN])
        more = f"; and {len(bites) - _SHOWN} more" if len(bites) > _SHOWN else ""
        how = (
            f"bit {len(bites)} time{'s' if len(bites) > 1 else ''} ({shown}{more})"
            if bites
            else "did not bite"
        )
        return f"{self.verb} ({self.place}), {self.what}: {how}"


class Bites(list[Bite]):
    """Bites that are noted in this process."""

    def note(self, **detail: str | int) -> None:
        """Note one."""
        self.append(Bite(detail))
