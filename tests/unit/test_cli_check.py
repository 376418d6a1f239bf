"""`handrail check`: which invariants are shown, and which decide the exit status."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from handrail_harness.cli import check as command
from handrail_harness.cli.app import app
from handrail_harness.rules import NAMES, UNIFYING
from handrail_harness.sources.memory import MemorySource
from handrail_harness.spans import Span
from handrail_harness.strategies.finding_faults import lost_traceparent
from handrail_harness.strategies.invariant_faults import delivered_twice

from .support.runs import cleanup_run

CLEAN = cleanup_run().spans
TWICE = delivered_twice(CLEAN, lambda choices: choices[0])[0]
TORN = lost_traceparent(CLEAN, lambda choices: choices[0])[0]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("COLUMNS", "160")
    return CliRunner()


def reads(monkeypatch: pytest.MonkeyPatch, spans: Sequence[Span]) -> None:
    monkeypatch.setattr(command, "open_source", lambda name: MemorySource(spans))


@pytest.mark.parametrize(
    ("spans", "tree", "every"), [(CLEAN, 0, 0), (TWICE, 0, 1), (TORN, 1, 1)], ids=["clean", "twice", "torn"]
)
def test_the_exit_status_tells_of_what_was_asked(
    run: CliRunner, monkeypatch: pytest.MonkeyPatch, spans: Sequence[Span], tree: int, every: int
) -> None:
    """By default of the tree alone, with `--invariants all` of every invariant."""
    reads(monkeypatch, spans)
    assert run.invoke(app, ["check", "store", "run-1"]).exit_code == tree
    assert run.invoke(app, ["check", "store", "run-1", "--invariants", "all"]).exit_code == every


def test_green_hides_no_other_breach(run: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole tree with a message processed twice is one tree, and the breach is named below it."""
    reads(monkeypatch, TWICE)
    shown = run.invoke(app, ["check", "store", "run-1"]).output
    assert "one unified tree" in shown
    assert "also broken: handoff_once; see --invariants all" in shown
    every = run.invoke(app, ["check", "store", "run-1", "--invariants", "all"]).output
    assert "attempt 1 of message task-0 ran before" in " ".join(every.split())
    for name in NAMES:
        assert name in every


def test_json_has_every_invariant(run: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rules` is what makes one tree, `invariants` all of them with their breaches, whatever was asked for."""
    reads(monkeypatch, TWICE)
    document = json.loads(run.invoke(app, ["check", "store", "run-1", "--json"]).output)
    assert list(document["rules"]) == list(UNIFYING)
    assert document["unified"] is True
    assert list(document["invariants"]) == list(NAMES)
    told = document["invariants"]["handoff_once"]
    assert (told["holds"], told["standing"]) == (False, "final")
    assert [breach["span_id"] for breach in told["breaches"]] == ["00000000deadbeef"]
