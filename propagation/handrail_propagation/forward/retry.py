"""How long to wait for a destination that does not take anything now."""

from __future__ import annotations

import random
from typing import Final

FIRST: Final = 0.5
LONGEST: Final = 30.0
"""Seconds; a destination may ask for more."""
_MOST_ASKED: Final = 600.0


class Backoff:
    """Doubles from `FIRST` to `LONGEST` seconds, give or take a third, so that many forwarders do not come at once."""

    def __init__(self) -> None:
        self.attempts = 0

    def next(self, asked: float | None = None) -> float:
        """Return the seconds until the next attempt; `asked` is what the destination wants, and the least it gets."""
        delay = min(FIRST * 2.0 ** min(self.attempts, 16), LONGEST)
        self.attempts += 1
        jittered = delay * random.uniform(2 / 3, 4 / 3)  # noqa: S311 - nothing secret
        if asked is None:
            return jittered
        return min(asked, _MOST_ASKED) + jittered / 4
