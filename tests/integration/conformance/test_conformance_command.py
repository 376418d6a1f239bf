"""`handrail conformance MODULE:APP`: an app with our propagation passes, one with the stock instrumentor does not."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from handrail_harness.cli.conformance import conformance as command
from handrail_propagation import HandrailError

pytestmark = pytest.mark.integration
APPS = Path(__file__).with_name("apps")


@pytest.fixture(scope="module")
def start(redis_url: str) -> Callable[..., subprocess.Popen[str]]:
    """Start the command beside the apps, with a broker and an address in the environment that must not be used."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HANDRAIL_", "OTEL_"))}
    environment = clean | {
        "HANDRAIL_REDIS_URL": redis_url,
        "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces",
        "NO_COLOR": "1",
    }

    def start(*args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "handrail_harness.cli", "conformance", *args],
            cwd=APPS,
            env=environment | {"TEST_QUEUE": f"conformance-{secrets.token_hex(4)}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left: exit status, both outputs and, where it wrote them, its reports."""

    status: int
    stdout: str
    stderr: str
    xml: str = ""
    page: str = ""


@pytest.fixture(scope="module")
def ended(
    start: Callable[..., subprocess.Popen[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Ended]:
    """Both apps, each with a task of its own, side by side: by the name of the module."""
    folder = tmp_path_factory.mktemp("conformance")
    arguments = {
        "ours_app": ("--json", "--task", 'shop.ask={"model": "m-1"}'),
        "stock_app": ("--task", "shop.ask"),
    }
    running = {
        name: start(
            f"{name}:app",
            *more,
            "--timeout",
            "60",
            "--junit",
            str(folder / f"{name}.xml"),
            "--html",
            str(folder / f"{name}.html"),
        )
        for name, more in arguments.items()
    }
    outputs = {name: process.communicate(timeout=120) for name, process in running.items()}
    return {
        name: Ended(
            running[name].returncode,
            *output,
            *((folder / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("xml", "html")),
        )
        for name, output in outputs.items()
    }


def by_id(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The outcomes of a JSON report by their ids."""
    return {one["id"]: one for one in document["outcomes"]}


def test_an_app_with_our_propagation_passes(ended: dict[str, Ended]) -> None:
    """All 41 cases, the conventions (GenAI ones on a task of its own) and the tree; JUnit and HTML say so, too."""
    ours = ended["ours_app"]
    document = json.loads(ours.stdout)
    assert {one["id"]: one["seen"] for one in document["outcomes"] if one["state"] == "failed"} == {}
    assert ours.status == 0, ours.stderr
    outcomes = by_id(document)
    assert sum(name.startswith("w3c/") for name in outcomes) == 41
    assert [name for name, one in outcomes.items() if one["state"] == "skipped"] == [
        "tree/decision_before_action"
    ]
    cases = list(ElementTree.fromstring(ours.xml).iter("testcase"))
    assert len(cases) == len(outcomes)
    assert [case for case in cases if case.find("failure") is not None] == []
    assert "ours_app:app passes" in ours.page


def test_the_stock_instrumentation_fails_by_name(ended: dict[str, Ended]) -> None:
    """What the stock instrumentor gets wrong fails, with what was expected and seen; what it records nothing for is not
    judged, and the rest of the tree passes.
    """
    stock = ended["stock_app"]
    assert stock.status == 1, stock.stderr
    failed = {
        f"{str(case.get('classname')).removeprefix('conformance.')}/{case.get('name')}": failure.text or ""
        for case in ElementTree.fromstring(stock.xml).iter("testcase")
        if (failure := case.find("failure")) is not None
    }
    skipped = {
        f"{str(case.get('classname')).removeprefix('conformance.')}/{case.get('name')}"
        for case in ElementTree.fromstring(stock.xml).iter("testcase")
        if case.find("skipped") is not None
    }
    assert set(failed) == {
        "w3c/traceparent_twice",
        "w3c/traceparent_casing",
        "w3c/tracestate_casing",
        "messages/attempts_are_siblings",
        "messages/linked_to_send",
        "messages/failures_are_errors",
        "messages/failure_text_stays_home",
        "conventions/messaging",
        "conventions/genai",
        "tree/no_content_in_attributes",
    }
    assert "which does not count" in failed["w3c/traceparent_twice"]
    assert "hangs below an earlier attempt" in failed["messages/attempts_are_siblings"]
    assert "has no link to the send" in failed["messages/linked_to_send"]
    assert "0 process spans have status ERROR, not 2" in failed["messages/failures_are_errors"]
    assert skipped == {"tree/decision_before_action", "tree/lineage_agrees", "tree/baggage_arrived"}
    assert "attribute messaging.system is missing" in failed["conventions/messaging"]
    assert "attribute gen_ai.request.model is missing" in failed["conventions/genai"]
    assert "expected: Two traceparents are none. (Trace Context 3.2)" in " ".join(stock.stdout.split())
    assert "stock_app:app does not pass" in stock.stdout
    assert "<td>failed</td>" in stock.page


@pytest.mark.parametrize(
    ("app", "options", "said"),
    [
        ("ours_app:", {}, "'ours_app:' names no Celery app; write MODULE:APP"),
        ("ours_app:app", {"task": ["shop.ask={"]}, "the arguments of --task shop.ask are no JSON"),
        ("ours_app:app", {"task": ["shop.ask=[]"]}, "no JSON object"),
        ("ours_app:app", {"task": ["={}"]}, "names no task"),
        ("ours_app:app", {"junit": Path("no/such/folder.xml")}, "there is no folder"),
        ("ours_app:app", {"html": Path("/")}, "it is a folder"),
        ("ours_app:app", {"junit": Path("x"), "html": Path("x")}, "give them a file each"),
    ],
)
def test_wrong_input_is_refused_before_anything_starts(app: str, options: dict[str, Any], said: str) -> None:
    """A name, a task or a file that cannot be meant is an error of one line."""
    with pytest.raises(HandrailError, match=re.escape(said)) as refused:
        command(app, pool="prefork", timeout=20.0, **options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ours_app:ap"], "ours_app has no 'ap'"),
        (["ours_app:app", "--task", "shop.aks"], "the app has no task 'shop.aks'; did you mean shop.ask?"),
    ],
)
def test_what_the_worker_finds_wrong_is_one_line(
    words: list[str], said: str, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Only the worker imports the app; exit status 2 and its one line when it has no app or task of that name."""
    process = start(*words)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 2, stderr
    (line,) = [one for one in stderr.splitlines() if one.startswith("handrail: ")]
    assert said in line
    assert "Traceback" not in stderr
    assert stdout == ""
