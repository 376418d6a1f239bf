"""Figures: what a fault test measured, kept for the table in docs/durability.md (see tests/faults/report.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handrail_propagation import telemetry

from . import report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Campaigns of hundreds of processes may take minutes on a busy machine; `--timeout` says otherwise."""
    if config.getoption("timeout") is None:
        for item in items:
            if item.path.parent == Path(__file__).parent:
                item.add_marker(pytest.mark.timeout(600))


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
