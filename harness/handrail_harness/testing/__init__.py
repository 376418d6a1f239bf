"""What the pytest plugin is made of: tiers, run handles, golden files, failure output, the check for leftovers.

Nothing is imported before it is asked for: the plugin looks in here in sessions that use none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handrail_harness.testing.eager import refuse_eager
    from handrail_harness.testing.goldens import Golden
    from handrail_harness.testing.runs import Run
    from handrail_harness.testing.session import Handrail

__all__ = ["Golden", "Handrail", "Run", "refuse_eager"]

_HOMES = {"Golden": "goldens", "Handrail": "session", "Run": "runs", "refuse_eager": "eager"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
