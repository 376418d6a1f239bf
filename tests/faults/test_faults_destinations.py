"""Destinations in trouble: what they answer, and how the network to them behaves, loses no record."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from handrail_harness.faults.behaviour import SILENT
from handrail_propagation.forward import retry

from . import campaign
from .answers import ALL, TROUBLES, meet, prefix
from .stock import Stock
from .systems import Handrail

MIB = 1 << 20
TAKEN_UNKNOWN = ("kept but answered 503", "kept but not answered", "stream reset", "reset while answering")


@pytest.mark.parametrize(
    ("over", "name"), [(over, name) for over, troubles in ALL.items() for name in troubles]
)
def test_trouble_loses_nothing(
    over: str, name: str, monkeypatch: pytest.MonkeyPatch, figures: Callable[..., None]
) -> None:
    """Every call arrives; what arrives twice has one record id; what is rejected is in quarantine, and nothing else."""
    monkeypatch.setattr(retry, "FIRST", 0.02)
    trouble = ALL[over][name]
    if SILENT in trouble.answers:  # else an answer that is late, on a busy machine, would be asked for twice
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
    result = meet(Handrail(), trouble, over=over)
    rejected = sum(behaviour.rejects for behaviour in trouble.answers)
    assert result["effects"] > 0
    assert result["lost"] == result["quarantined"] == rejected
    assert result["pending"] == 0
    assert (result["twice"] > 0) == (name in TAKEN_UNKNOWN)
    assert result["requests"] > 1
    figures(f"{prefix(over)} {name}", **result)


def test_an_outage_loses_nothing(figures: Callable[..., None]) -> None:
    """200 calls a second while the destination is down: all arrive when it is back, and nobody's memory grows.

    3 seconds here; HANDRAIL_FAULT_OUTAGE=600 for the long form.
    """
    seconds = os.environ.get("HANDRAIL_FAULT_OUTAGE", "3")
    result = campaign.run("outage", "handrail", "--seconds", seconds)
    assert result["effects"] >= 200 * float(seconds)
    assert (result["lost"], result["decisions_lost"]) == (0, 0)
    assert result["writer_growth"] < 8 * MIB
    assert result["forwarder_growth"] < 32 * MIB
    figures("outage", **result)


def test_lives_that_end_at_random_reach_the_destination(figures: Callable[..., None]) -> None:
    """Processes at a steady pace, killed at random instants: every call that was made is at the destination in the end.

    10 lives of 2 seconds here; HANDRAIL_FAULT_LIVES=100 for the long form, with 10 seconds each.
    """
    count = os.environ.get("HANDRAIL_FAULT_LIVES", "10")
    seconds = "2" if int(count) < 100 else "10"
    result = campaign.run("lives", "handrail", "--lives", count, "--seconds", seconds)
    assert result["effects"] > 0
    assert (result["lost"], result["last_calls_lost"]) == (0, 0)
    figures("lives", **result)


def test_the_same_trouble_costs_stock_records() -> None:
    """The campaign can tell: under a login page that answers 200 stock OpenTelemetry loses every span."""
    result = meet(Stock(), TROUBLES["garbage"])
    assert result["lost"] == result["effects"] > 0
