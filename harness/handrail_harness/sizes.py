"""How much a source has of one run: what tells cheaply that nothing has come since it was read."""

from __future__ import annotations

from typing import NamedTuple


class RunSize(NamedTuple):
    """How many traces a run is in, and how many spans and events they have, copies included.

    A source only ever gets more of a run, so that one of the same size holds what it held.
    """

    traces: int
    spans: int
    events: int
