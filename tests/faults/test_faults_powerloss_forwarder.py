"""Loss of power while a forwarder is at work: its ledger, what it carries and what it deletes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handrail_propagation import telemetry
from handrail_propagation.forward import forwarder as forwarding
from handrail_propagation.forward import life, shipper
from handrail_propagation.forward.destination import Destination
from handrail_propagation.forward.forwarder import Forwarder
from handrail_propagation.forward.outcome import Accepted, Outcome
from handrail_propagation.forward.wire import Signal
from handrail_propagation.spool.accounting import account
from handrail_propagation.spool.files import FILES, Files

from .arrivals import lines_in
from .powerloss import Crash, Forgetful, Recording, Step, crashes
from .workload import GATED, call, look, record_into


class Elsewhere:
    """A destination on another machine: what it has taken, it has."""

    signals = frozenset(Signal)

    def __init__(self, arrived: Callable[[str], None]) -> None:
        self._arrived = arrived

    def send(self, signal: Signal, body: bytes) -> Outcome:
        """Take everything."""
        for line in lines_in("/v1/traces" if signal is Signal.TRACES else "/v1/logs", body):
            self._arrived(line)
        return Accepted()

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "LOOK", 0.001)
    monkeypatch.setattr(forwarding, "PAUSE", 0.001)
    monkeypatch.setattr(shipper, "SAVE_EVERY", 0.0)


def _forwarder(folder: Path, arrived: Callable[[str], None], files: Files = FILES) -> Forwarder:
    forwarder = Forwarder(folder, [Destination("elsewhere", Elsewhere(arrived))], files=files)
    assert forwarder.elect()
    return forwarder


def _recorded(folder: Path, files: Recording) -> list[Step]:
    """What writer and forwarder do to the disk, taking turns, over several segments and with a span open throughout."""
    spool = record_into(folder, files=files, segment_size=4096)
    forwarder = _forwarder(folder, files.arrived, files)
    forwarder.start()
    with telemetry.tracer().start_as_current_span("invoke_agent long", attributes=GATED):
        for _ in range(4):
            look()
            for _ in range(2):
                assert call(files.acted)
            assert forwarder.flush(20)
    forwarder.stop()
    spool.close()
    return files.steps


def _problem(crash: Crash, folder: Path) -> str:
    """Recover from a crash; return what is wrong then, nothing when all is well."""
    crash.lay_out(folder)
    arrived = set(crash.arrived)
    before = account(folder).total
    forwarder = _forwarder(folder, arrived.add)
    forwarder.start(once=True)
    for thread in forwarder._threads:
        thread.join(20)
    assert not forwarder.is_running
    forwarder.stop()
    after = account(folder).total
    lines = [line.split() for line in arrived]
    ended = [span for kind, span, _ in lines if kind == "span"]
    decided = {span for kind, span, _ in lines if kind == "log"}
    if missing := crash.acted - (set(ended) & decided):
        return f"{len(missing)} effects of which nobody knows"
    if len(ended) != len(set(ended)):
        return "a span that had ended was ended again, as abandoned"
    if (before.recorded, before.quarantined, 0) != (after.recorded, after.quarantined, after.pending):
        return f"the account: {before}, then {after}"
    return ""


def _problems(
    steps: list[Step], folder: Path, variants: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Crash, str]]:
    """Yield each crash state, and what is wrong after it."""
    # The machine has been booted again since: no writer of before is alive
    monkeypatch.setattr(life, "boot_id", lambda: "another boot")
    seen: set[tuple[tuple[str, bytes | None], ...]] = set()
    for crash in crashes(steps, variants):
        key = tuple(sorted(crash.files.items()))
        if key not in seen:
            seen.add(key)
            yield crash, _problem(crash, folder / f"crash-{len(seen)}")


def test_every_crash_state_is_forwarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Callable[..., None]
) -> None:
    """Whatever is on the disk after a loss of power, the next forwarder delivers what has not arrived, and only once.

    One random state after each step; HANDRAIL_FAULT_VARIANTS=12 for the long form.
    """
    variants = int(os.environ.get("HANDRAIL_FAULT_VARIANTS", "1"))
    steps = _recorded(tmp_path / "spool", Recording(tmp_path / "spool"))
    assert any(step.what == "unlink" and step.name.endswith(".seg") for step in steps)
    states = acted = 0
    for crash, problem in _problems(steps, tmp_path, variants, monkeypatch):
        assert not problem, f"after step {crash.at}, {steps[crash.at - 1]}: {problem}"
        states += 1
        acted += len(crash.acted)
    assert states >= 100
    assert acted > states
    figures("power loss forwarder", states=states, steps=len(steps), acknowledged=acted, lost=0)


def test_the_enumeration_finds_a_forwarder_that_forgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forwarder that does not sync what it sends is caught."""
    steps = _recorded(tmp_path / "spool", Forgetful(tmp_path / "spool", "sync_path"))
    assert any(problem for _, problem in _problems(steps, tmp_path, 0, monkeypatch))
