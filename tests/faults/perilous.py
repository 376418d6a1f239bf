"""A forwarder's calls to the disk and to its destinations, of which any may be the last one, in this process."""

from __future__ import annotations

import errno
import random
from typing import NoReturn

from handrail_propagation.spool.files import Files

from .deadly import Failpoints


class Killed(BaseException):
    """The forwarder has been killed: no `except` of the library may catch this."""


class Perilous(Failpoints):
    """Raises `Killed` before, after or within a call, and `OSError` in place of one, as `chance` has it."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self.danger = 0.0
        """The probability to be killed, at each moment of a step."""
        self.trouble = 0.0
        """The probability that a call fails."""
        self.kills = 0

    def is_due(self, moment: str) -> bool:
        """Whether this is the end. Raises `OSError` when it is not, but the disk fails."""
        if self._chance.random() < self.danger:
            return True
        if moment == "before" and self._chance.random() < self.trouble:
            raise OSError(errno.EIO, "Input/output error")
        return False

    def end(self) -> NoReturn:
        """Be gone."""
        self.kills += 1
        raise Killed

    def close(self, descriptor: int) -> None:
        """Not a step: what a killed process had open is closed with it, and here by its `finally`."""
        Files.close(self, descriptor)
