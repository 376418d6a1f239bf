"""A clock that is wrong, for what is recorded only: spans, events and the times that messages carry.

The name `time` is replaced in the modules of OpenTelemetry's SDK and of ours. Celery, kombu and the operating system
keep the right time, so that nothing expires or is restored because of the fault.
"""

from __future__ import annotations

import sys
import time
import types
from typing import Any

_PACKAGES = ("opentelemetry.sdk.", "handrail_propagation", "handrail_agents")
_real_ns, _real = time.time_ns, time.time


def shift(offset_ns: int) -> None:
    """Add `offset_ns` nanoseconds to the clock of every module loaded so far that records something."""
    shifted = _Shifted(offset_ns)
    for name, module in list(sys.modules.items()):
        if not name.startswith(_PACKAGES) or module is None:
            continue
        for attribute, value in list(vars(module).items()):
            if value is time:
                setattr(module, attribute, shifted)
            elif value is _real_ns:
                setattr(module, attribute, shifted.time_ns)
            elif value is _real:
                setattr(module, attribute, shifted.time)


class _Shifted(types.ModuleType):
    """The module `time`, but for the time of day."""

    def __init__(self, offset_ns: int) -> None:
        super().__init__("time")
        self._offset_ns = offset_ns

    def time_ns(self) -> int:
        return _real_ns() + self._offset_ns

    def time(self) -> float:
        return _real() + self._offset_ns / 1e9

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)
