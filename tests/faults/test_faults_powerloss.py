"""Loss of power: every legal state of the disk recovers by itself, and no acknowledged record is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from handrail_propagation.spool.record import Kind
from handrail_propagation.spool.writer import Writer

from .powerloss import Crash, Forgetful, Recording, Step, crashes
from .workload import call, find, look, record_into


def _recorded(folder: Path, files: Recording) -> list[Step]:
    """What a writer does to the disk while it makes calls over several segments."""
    spool = record_into(folder, files=files, segment_size=2048)
    for number in range(12):
        look()
        assert call(files.acted)
        if number % 4 == 3:
            look()
    spool.close()
    return files.steps


def _missing(crash: Crash, folder: Path) -> set[str]:
    """Recover from a crash; return the effects that are not on record."""
    crash.lay_out(folder)
    found = find(folder)
    assert found.exact
    return crash.acted - found.safe


def test_every_crash_state_recovers(tmp_path: Path, figures: Callable[..., None]) -> None:
    """After any loss of power what was acknowledged can be read, the account is exact, and writing goes on."""
    steps = _recorded(tmp_path / "spool", Recording(tmp_path / "spool"))
    states = acted = 0
    seen: set[tuple[tuple[str, bytes | None], ...]] = set()
    for crash in crashes(steps, variants=6):
        key = tuple(sorted(crash.files.items()))
        if key in seen:
            continue
        seen.add(key)
        folder = tmp_path / f"crash-{states}"
        assert _missing(crash, folder) == set(), f"after step {crash.at}: {steps[crash.at - 1]}"
        again = Writer(folder, b"")
        assert again.append(Kind.LOG, b"")
        again.sync(again.recorded)
        again.close()
        assert find(folder).exact
        states += 1
        acted += len(crash.acted)
    assert states >= 500
    assert acted > states
    figures("power loss", states=states, steps=len(steps), acknowledged=acted, lost=0)


@pytest.mark.parametrize("call_left_out", ["sync", "sync_folder"])
def test_the_enumeration_finds_a_writer_that_forgets(tmp_path: Path, call_left_out: str) -> None:
    """The states are worth something: a writer without its file or folder syncs is caught at once."""
    steps = _recorded(tmp_path / "spool", Forgetful(tmp_path / "spool", call_left_out))
    lost = 0
    for number, crash in enumerate(crashes(steps, variants=0)):
        if crash.acted and _missing(crash, tmp_path / f"crash-{number}"):
            lost += 1
    assert lost > 0
