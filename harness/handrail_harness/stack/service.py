"""What is started, waited for and stopped again, whatever it is: a server, a container, a stack of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Protocol, Self

from handrail_harness.errors import StackError


class Service(ABC):
    """A context manager between `start` and `stop`. A start that fails leaves nothing.

    Subclasses say how to `_begin` and to `stop`; the latter must do with whatever of it there is.
    """

    patience = 60.0
    """Seconds that a start may take, unless told otherwise."""

    def start(self, *, timeout: float | None = None) -> Self:
        """Start and wait until it answers, `timeout` seconds (default: `patience`); raises `StackError`."""
        try:
            self._begin(self.patience if timeout is None else timeout)
        except BaseException as error:
            try:
                self.stop()
            except StackError as left:
                error.add_note(str(left))
            raise
        return self

    @abstractmethod
    def stop(self) -> None:
        """Stop it and remove what it left. May be called twice."""

    @abstractmethod
    def _begin(self, timeout: float) -> None:
        """Start, and return when it answers; `StackError` after `timeout` seconds."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Broker(Protocol):
    """A broker that was started here, so that it may be restarted and paused. Each raises `StackError`."""

    @property
    def url(self) -> str:
        """Where it is, password included."""
        ...

    def restart(self, *, keep: bool = True) -> None:
        """Stop it and start it again on the same port, with or without the messages that it had."""
        ...

    def pause(self) -> None:
        """Let it hang with its connections open."""
        ...

    def resume(self) -> None:
        """Let it go on; nothing happens when it is not paused."""
        ...
