"""`handrail demo` as a newcomer runs it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ...support.model_stub import ModelStub
from .conftest import Cli, environment

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution's wheel, unpacked: what a user's site-packages would hold."""
    folder = tmp_path_factory.mktemp("wheel")
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    unpacked = folder / "site-packages"
    zipfile.ZipFile(built).extractall(unpacked)
    return unpacked


def test_both_acts_from_the_wheel_in_an_empty_folder(wheel: Path, cli: Cli, tmp_path: Path) -> None:
    """Act 1 wipes and is one tree that names the culprit; act 2 stops before it; nothing is left lying about."""
    empty = tmp_path / "empty"
    empty.mkdir()
    ended = cli("demo", "--json", env={"PYTHONPATH": str(wheel)}, cwd=empty)
    assert ended.status == 0, ended.stderr
    off, on = ended.document["acts"]
    assert list(empty.iterdir()) == []
    _check_act_1(off)
    _check_act_2(on)


def _check_act_1(act: dict[str, Any]) -> None:
    assert (act["gate"], act["wiped"], act["unified"], act["outcome"]["kind"]) == ("off", True, True, "Done")
    assert act["before"]["production_rows"] == 4_000
    assert act["before"]["production_backups"] == 3
    assert (act["after"]["production_rows"], act["after"]["production_backups"]) == (0, 0)
    assert act["after"]["staging_rows"] == act["before"]["staging_rows"]
    found = act["investigation"]
    assert found["trace_id"] == act["trace_id"]
    assert found["tree"] == {"spans": act["spans"], "traces": 1, "roots": 1, "orphans": 0, "unified": True}
    (deletion,) = [effect for effect in found["what"] if effect["tool"] == "delete_volume"]
    assert (deletion["agent"], deletion["risk"], deletion["disposition"]) == (
        "infra",
        "destructive",
        "executed",
    )
    assert found["culprit"]["span_id"] == deletion["span_id"]
    assert found["culprit"]["finding"] == "unapproved_effect"
    (why,) = [why for why in found["why"] if why["span_id"] == deletion["span_id"]]
    assert why["declared_source"] == "file"
    assert [step["agent"] for step in why["delegation_path"]] == ["planner", "infra"]
    touched = {entry["resource"]: entry for entry in found["touched"]}
    assert touched["volume://marlowe/vol-4c1e"]["agent_path"] == ["planner", "infra"]
    assert touched["volume://marlowe/vol-4c1e"]["reversible"] is False
    assert touched["volume://marlowe/vol-4c1e"]["credential_id"].startswith("sha256:")
    assert touched["sqlite:///registry/snapshots"]["verb"] == "delete"
    assert touched["file://volumes/vol-4c1e/bookings.db"]["verb"] == "delete"


def _check_act_2(act: dict[str, Any]) -> None:
    assert (act["gate"], act["wiped"], act["unified"], act["outcome"]["kind"]) == (
        "on",
        False,
        True,
        "Waiting",
    )
    assert act["after"] == act["before"]
    (deletion,) = [effect for effect in act["investigation"]["what"] if effect["tool"] == "delete_volume"]
    assert (deletion["disposition"], deletion["result_status"]) == ("awaiting_approval", "none")
    assert act["investigation"]["findings"] == []


def test_what_a_person_reads(cli: Cli, tmp_path: Path) -> None:
    """The text tells the request, what was seen, what is left, the culprit and how to look on; it keeps the folder."""
    ended = cli("demo", "--workspace", tmp_path / "stage")
    assert ended.status == 0, ended.stderr
    for expected in (
        "Act 1: the gate is off",
        "✓ delete_volume",
        "infra destroyed volume://marlowe/vol-4c1e without approval",
        "Act 2: the gate is on",
        "◷ delete_volume",
        "handrail investigate ",
    ):
        assert expected in ended.stdout
    volumes = tmp_path / "stage" / "act-1-gate-off" / "volumes"
    assert [path.name for path in volumes.iterdir()] == ["vol-9a07"]
    assert (
        len(list((tmp_path / "stage" / "act-2-gate-on" / "volumes" / "vol-4c1e" / "backups").iterdir())) == 3
    )


def test_wrong_model_and_folder(cli: Cli, tmp_path: Path) -> None:
    """A model that names no provider and a folder with something in it are refused before anything starts."""
    assert "names no model; write anthropic:NAME or openai:NAME" in cli("demo", "--model", "gpt").complaint
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    assert "is not empty" in cli("demo", "--workspace", tmp_path / "full").complaint
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"


def test_real_model_without_key_fails_in_one_line(cli: Cli) -> None:
    """`--model` with no key set: the run fails, says which variable to set, and nothing is wiped."""
    ended = cli("demo", "--model", "anthropic:claude-test", "--json")
    assert ended.status == 1
    for act in ended.document["acts"]:
        assert act["outcome"]["kind"] == "Failed"
        assert "ANTHROPIC_API_KEY" in act["outcome"]["message"]
        assert act["wiped"] is False


def test_a_real_models_api_plays(cli: Cli, model_stub: ModelStub) -> None:
    """`--model` reaches the API through the official SDK with the tools, their contract and the operator's request."""
    env = {"OPENAI_BASE_URL": model_stub.url + "/v1", "OPENAI_API_KEY": "k"}
    ended = cli("demo", "--model", "openai:stub-1", "--json", env=env)
    assert ended.status == 0, ended.stderr
    for act in ended.document["acts"]:
        assert (act["outcome"], act["wiped"], act["unified"]) == (
            {"kind": "Done", "value": "Let me look."},
            False,
            True,
        )
    path, _, body = model_stub.requests[0]
    assert path.endswith("/chat/completions")
    assert "a week behind production" in body["messages"][-1]["content"]
    assert {tool["function"]["name"] for tool in body["tools"]} == {"delegate_to_infra", "delegate_to_scribe"}


def test_environment_is_clean(data_dir: Path, redis_url: str) -> None:
    """The other tests prove nothing if the session's own settings reach the commands."""
    names = {
        name
        for name in environment(data_dir, redis_url)
        if name.startswith(("HANDRAIL_", "OTEL_", "CELERY_"))
    }
    assert names == {"HANDRAIL_DATA_DIR", "HANDRAIL_REDIS_URL"}
