"""What has been injected, and the end at which all of it is undone; the verbs are `faults`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from handrail_harness.errors import FaultDidNotBite
from handrail_harness.faults.injected import Bites, Injected, Place
from handrail_propagation.errors import HandrailError

_MESSAGES: Final = "compare its task and queue with what was sent"
_ADVICE: Final[dict[Place, str]] = {
    "producer": _MESSAGES,
    "broker": _MESSAGES,
    "worker": "did the worker that it is about take a message?",
    "telemetry": "no worker of faults.worker() has exported spans meanwhile",
    "infrastructure": "nothing came of it",
}


class Injector(ABC):
    """Keeps what was injected until `close`; a context manager."""

    def __init__(self) -> None:
        self.injected: list[Injected] = []
        """Every fault of this test, oldest first; `str()` of one is the line for a report."""
        self._closed = False

    def close(self) -> None:
        """Undo everything, the latest fault first; stop the workers that were started here.

        Raises `FaultDidNotBite` when a fault has not taken effect, after all is undone.
        """
        __tracebackhide__ = True
        if self._closed:
            return
        self._closed = True
        problems: list[HandrailError] = []
        for one in reversed(self.injected):
            try:
                one.undo()
            except HandrailError as error:
                problems.append(error)
        self._restore()
        toothless = [one for one in self.injected if not one.bites]
        told = "; ".join(str(one) for one in toothless)
        self._forget()
        if problems:
            raise problems[0]
        if toothless:
            raise FaultDidNotBite(f"{told}; {_ADVICE[toothless[0].place]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        try:
            self.close()
        except HandrailError as late:
            if error is None:
                raise
            error.add_note(f"{type(late).__name__}: {late}")

    def __str__(self) -> str:
        return "\n".join(str(one) for one in self.injected) or "no fault was injected"

    @abstractmethod
    def _restore(self) -> None:
        """Stop what was started for faults, once each is undone."""

    @abstractmethod
    def _forget(self) -> None:
        """Remove what the bites of faults were read from."""

    def _done(self, verb: str, place: Place, what: str, bites: Bites) -> Injected:
        return self._record(verb, place, what, lambda: bites, lambda: None)

    def _in_broker(self, verb: str, what: str, bites: Bites) -> None:
        self._done(verb, "broker", what, bites)

    def _record(
        self, verb: str, place: Place, what: str, bites: Callable[[], Any], undo: Callable[[], None]
    ) -> Injected:
        injected = Injected(verb, place, what, bites, undo)
        self.injected.append(injected)
        return injected
