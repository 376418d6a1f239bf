"""What is put under a fault: Handrail with its spool and forwarder, or stock OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from .forwarding import deliver
from .stock import Stock
from .workload import call, record_into

Call = Callable[[Callable[[str], Any]], bool]


class System(Protocol):
    """What records calls."""

    name: str

    def begin(self, folder: Path, endpoint: str) -> Call:
        """Set telemetry up in the process that is going to make calls; return what makes one."""
        ...

    def end(self) -> None:
        """End that process's telemetry in good order."""
        ...

    def settle(self, folder: Path, endpoint: str) -> None:
        """Do what happens when all processes that wrote into a folder are gone."""
        ...


class Handrail:
    """Records go into a spool, before the call is made; a forwarder sends them."""

    name = "handrail"

    def begin(self, folder: Path, endpoint: str) -> Call:
        """Open the spool."""
        self._spool = record_into(folder / "spool")
        return call

    def end(self) -> None:
        """Close the spool."""
        self._spool.close()

    def settle(self, folder: Path, endpoint: str) -> None:
        """Forward what is there."""
        if (folder / "spool").exists():
            deliver(folder / "spool", endpoint)


SYSTEMS: dict[str, Callable[[], System]] = {"handrail": Handrail, "stock": Stock}
