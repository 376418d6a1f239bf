"""`handrail show` and `handrail sweep`: for people and for programs, with an exit status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from handrail_harness.cli.app import app
from handrail_harness.otlpjson import write_otlp_json
from handrail_harness.spans import Span
from handrail_harness.strategies.finding_faults import lost_traceparent
from handrail_harness.testing import sweeping

from .support.runs import cleanup_run

CLEAN = cleanup_run().spans
TORN = lost_traceparent(CLEAN, lambda choices: choices[0])[0]


def saved(folder: Path, spans: Sequence[Span]) -> str:
    path = folder / "run.json"
    write_otlp_json(path, spans)
    return str(path)


def test_a_saved_run_is_a_document(tmp_path: Path) -> None:
    """One entry a run, with the findings, also where the run is in several traces; the same as on the screen."""
    file = saved(tmp_path, TORN)
    done = CliRunner().invoke(app, ["show", file, "--json"])
    assert done.exit_code == 0
    (document,) = json.loads(done.stdout)
    assert [one["finding"] for one in document["findings"]] == ["broken_handoff"]
    shown = CliRunner().invoke(app, ["show", file])
    assert "handoff_received" in shown.stdout
    assert "not one unified tree" in " ".join(shown.stdout.split())


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([], 0),
        (["ended: process 1 of session [a]"], 0),
        (["removed: folder x", "not removed: container y: [busy]"], 1),
    ],
)
def test_what_was_swept(monkeypatch: pytest.MonkeyPatch, lines: list[str], status: int) -> None:
    """What could not be removed is apart, and is the exit status; text comes out as it is."""
    monkeypatch.setattr(sweeping, "sweep", lambda: lines)
    done = CliRunner().invoke(app, ["sweep", "--json"])
    assert done.exit_code == status
    document = json.loads(done.stdout)
    assert document["removed"] + document["not_removed"] == lines
    assert len(document["not_removed"]) == status
    told = CliRunner().invoke(app, ["sweep"])
    assert told.exit_code == status
    assert told.output.splitlines() == (lines or ["nothing to sweep"])
