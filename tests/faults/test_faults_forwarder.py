"""A forwarder that is killed: at every write, send and delete, and at random while workers write and die."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from . import campaign

NOTHING = dict.fromkeys(("lost", "acknowledged_lost", "inexact", "left"), 0)


def _wrong(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in NOTHING}


def test_a_forwarder_killed_at_every_step_loses_nothing(figures: Callable[..., None]) -> None:
    """The next forwarder delivers the rest; what arrives twice is the same record; the account is exact.

    What is left after a call is left before the next one: HANDRAIL_FAULT_MOMENTS="before middle after" for all three.
    """
    moments = os.environ.get("HANDRAIL_FAULT_MOMENTS", "before middle").split()
    result = campaign.run("forwarding", "steps", "--moments", *moments)
    assert _wrong(result) == NOTHING
    assert result["different"] == 0
    assert result["kills"] > result["steps"]
    assert result["sent_twice"] > 0
    figures("forwarder killed at every step", **result)


def test_forwarders_killed_at_random_lose_nothing(figures: Callable[..., None]) -> None:
    """Forwarders die while a worker writes, then the worker: every effect and its decision arrive, under a record id.

    12 rounds here; HANDRAIL_FAULT_FORWARDER_ROUNDS=220 for the long form, of 1,000 kills.
    """
    rounds = os.environ.get("HANDRAIL_FAULT_FORWARDER_ROUNDS", "12")
    result = campaign.run("forwarding", "random", "--rounds", rounds)
    assert _wrong(result) == NOTHING
    assert result["anonymous"] == 0
    assert result["kills"] >= 4 * int(rounds)
    assert result["effects"] > result["kills"]
    figures("forwarder killed at random", **result)
