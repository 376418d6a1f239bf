"""SIGKILL loses nothing: at every step of the writer, and at random instants in every kind of process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from . import campaign


def _assert_nothing_lost(result: dict[str, Any]) -> None:
    assert result["effects"] > 0
    assert result["effects_without_record"] == 0
    assert result["acknowledged_lost"] == 0
    assert result["inexact"] == 0


def test_a_kill_at_every_step_loses_nothing(figures: Callable[..., None]) -> None:
    """Before, in the middle of and after every call to the disk: no effect without its record, the account exact."""
    result = campaign.run("kills", "steps")
    _assert_nothing_lost(result)
    assert result["kills"] > 2 * result["steps"]
    figures("kill at every step", **result)


def test_kills_at_random_instants_lose_nothing(figures: Callable[..., None]) -> None:
    """Writer, pool child, worker main, all at once: 0 effects without a record, 0 acknowledged records lost.

    60 rounds here; HANDRAIL_FAULT_ROUNDS=400 for the long form, of 1,000 kills.
    """
    rounds = int(os.environ.get("HANDRAIL_FAULT_ROUNDS", "60"))
    result = campaign.run("kills", "random", "--rounds", str(rounds))
    _assert_nothing_lost(result)
    assert result["kills"] >= rounds
    # The kernel may break off a write() at the end of a page when its process is killed: one torn tail each
    assert result["quarantined"] <= result["kills"] // 10
    figures("kill at random instants", **result)
