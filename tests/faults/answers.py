"""A destination, or the network to it, that is in trouble for a while: what becomes of the records?

    python -m tests.faults.answers handrail
    python -m tests.faults.answers stock
    python -m tests.faults.answers stock --over grpc

The same troubles for both. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from handrail_harness.faults import Behaviour, FaultProxy
from handrail_harness.faults.behaviour import (
    GARBAGE,
    HANG_UP,
    PARTIAL,
    REFUSE,
    SILENT,
    SLOW,
    THROTTLE,
    TWICE,
    UNAVAILABLE,
)
from handrail_propagation.spool.accounting import account

from .arrivals import GrpcKeeper, Keeper, arrived
from .report import figure
from .systems import SYSTEMS, System
from .workload import line_in, lines_of

CALLS = 40


@dataclass(frozen=True, slots=True)
class Trouble:
    """What the next requests meet, or the connections for a while."""

    answers: tuple[Behaviour, ...] = ()
    network: Mapping[str, Any] = field(default_factory=dict)
    """Conditions of a `FaultProxy`, until `connections` have met them."""
    connections: int = 2


TROUBLES: dict[str, Trouble] = {
    "429": Trouble((replace(THROTTLE, retry_after="0"),) * 3),
    "503": Trouble((UNAVAILABLE,) * 3),
    "garbage": Trouble((GARBAGE,) * 3),
    "partial success": Trouble((PARTIAL,)),
    "kept but answered 503": Trouble((TWICE,) * 2),
    "kept but not answered": Trouble((HANG_UP,) * 2),
    "slow": Trouble((replace(SLOW, delay=0.3),) * 3),
    "silent": Trouble((SILENT,)),
    "reset while sending": Trouble(network={"cut_requests_after": 2000}),
    "reset while answering": Trouble(network={"cut_answers_after": 0}),
    "reset at once": Trouble(network={"cut_requests_after": 0}),
    "refused": Trouble(network={"refuse": True}),
    "narrow": Trouble(
        network={"bytes_per_second": 100_000, "latency": 0.02, "jitter": 0.02}, connections=1 << 30
    ),
}


OVER_GRPC: dict[str, Trouble] = {
    "RESOURCE_EXHAUSTED": TROUBLES["429"],
    "UNAVAILABLE": TROUBLES["503"],
    "DEADLINE_EXCEEDED": Trouble((replace(UNAVAILABLE, status=504),) * 3),
    "UNAUTHENTICATED": Trouble((replace(UNAVAILABLE, status=401),) * 3),
    "INVALID_ARGUMENT": Trouble((REFUSE,)),
    "stream reset": TROUBLES["kept but not answered"],
    **{
        name: TROUBLES[name]
        for name in (
            "garbage",
            "partial success",
            "kept but answered 503",
            "slow",
            "silent",
            "reset while sending",
            "reset at once",
            "refused",
            "narrow",
        )
    },
    "reset while answering": Trouble(network={"cut_answers_after": 100}),
}
"""The same over gRPC; an answer of 100 bytes are the settings of HTTP/2 and no more."""
KEEPERS: dict[str, type[Keeper | GrpcKeeper]] = {"http": Keeper, "grpc": GrpcKeeper}
ALL = {"http": TROUBLES, "grpc": OVER_GRPC}


def meet(system: System, trouble: Trouble, calls: int = CALLS, over: str = "http") -> dict[str, Any]:
    """Make calls while there is trouble; return what arrived of them in the end."""
    with (
        tempfile.TemporaryDirectory() as name,
        KEEPERS[over](Path(name) / "arrived") as keeper,
        FaultProxy(keeper.endpoint) as proxy,
    ):
        folder = Path(name)
        keeper.then(*trouble.answers)
        proxy.set(**trouble.network)
        done = threading.Event()
        healing = threading.Thread(target=_heal, args=(proxy, trouble, done))
        healing.start()
        call = system.begin(folder, proxy.url)
        effect = line_in(folder / "effects")
        for _ in range(calls):
            assert call(effect)
        system.end()
        system.settle(folder, proxy.url)
        done.set()
        healing.join()
        effects, found = lines_of(folder / "effects"), arrived(folder / "arrived")
        return {
            "effects": len(effects),
            "lost": len(effects - found.spans),
            "twice": found.twice,
            "requests": keeper.requests,
            **_left(folder / "spool"),
        }


def _left(spool: Path) -> dict[str, int]:
    if not spool.exists():
        return {}
    total = account(spool).total
    assert total.is_exact
    return {"pending": total.pending, "quarantined": total.quarantined}


def _heal(proxy: FaultProxy, trouble: Trouble, done: threading.Event) -> None:
    """Heal the network when as many connections have met it as were to; what is refused is not counted: a second."""
    refusing = time.monotonic() + 1.0 if "refuse" in trouble.network else float("inf")
    while proxy.accepted < trouble.connections and time.monotonic() < refusing and not done.wait(0.01):
        pass
    proxy.heal()


def prefix(over: str) -> str:
    """The beginning of a figure's name."""
    return "destination" if over == "http" else f"{over} destination"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=sorted(SYSTEMS))
    parser.add_argument("--over", choices=sorted(ALL), default="http")
    parser.add_argument("troubles", nargs="*", help="default: all")
    options = parser.parse_args()
    troubles = ALL[options.over]
    results = {
        name: meet(SYSTEMS[options.system](), troubles[name], over=options.over)
        for name in options.troubles or troubles
    }
    print(json.dumps(results))
    if options.system == "stock":
        for name, result in results.items():
            figure(f"{prefix(options.over)} {name} stock", **result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
