"""Figures: what a fault test measured, kept for the table in docs/durability.md (see tests/faults/report.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from handrail_propagation import telemetry

from . import report


@pytest.fixture
def figures() -> Callable[..., None]:
    """Keep figures under a name: `figures("disk full", effects=12)`; a file in HANDRAIL_FIGURES, if that is set."""
    return report.figure


@pytest.fixture(autouse=True)
def _own_telemetry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(telemetry, "_current", None)
    yield
    if (now := telemetry.current()) is not None and now.recorder is not None:
        now.recorder.spool.close()
