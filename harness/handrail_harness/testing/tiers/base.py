"""The interface of every tier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol, get_args

if TYPE_CHECKING:
    from handrail_harness.sources.base import Source
    from handrail_harness.stack.service import Broker

TierName = Literal["thread", "process", "containers", "external"]
TIERS: Final[tuple[TierName, ...]] = get_args(TierName)


class Tier(Protocol):
    """One kind of stack. Valid between `start` and `stop`; both raise `StackError`."""

    name: TierName
    broker_url: str
    """Where messages go."""
    redis_url: str
    """Where run journals go; empty where there is no Redis (`memory://`)."""
    owned: bool
    """Whether the broker's database is this session's alone, so that it may be emptied."""
    otlp_endpoint: str
    """Where this process's spans go; empty when they stay in memory, or the application sends them itself."""
    takes_logs: bool
    worker_processes: bool
    """Whether workers are processes of their own, which `environ()` points at the stack."""

    @property
    def broker(self) -> Broker | None:
        """The broker, where this process started it and may stop or pause it."""
        ...

    def start(self) -> None:
        """Start or find everything."""
        ...

    def stop(self) -> None:
        """Stop what was started here. May be called twice."""
        ...

    def environ(self) -> dict[str, str]:
        """Return the variables that make a producer or worker use the stack."""
        ...

    def source(self) -> Source | None:
        """Return a new source on the stack's store; `None` when spans stay in memory."""
        ...

    def check(self) -> None:
        """Raise `StackError` when a part has died."""
        ...

    def pids(self) -> list[int]:
        """Return the processes that were started here and must be gone after `stop`."""
        ...
