"""docs/faults.md has a section for every verb, and says of each what the tests on real workers compare runs with."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from handrail_harness.faults import Faults, Held
from handrail_harness.findings.base import TITLES
from handrail_harness.rules.table import INVARIANTS

from ..integration.verbs.verdicts import VERDICTS, Verdict

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"(?ms)^### `(\w+)`\n(.*?)(?=^###? |\Z)", TEXT))


def documented(section: str) -> Verdict:
    """The table of a section."""
    rows = re.findall(r"(?m)^\| (?!found|---)(.*?) \|(.*?)\|(.*?)\|$", section)
    findings, breaks = [], set[str]()
    for found, at, invariants in rows:
        breaks |= set(re.findall(r"`(\w+)`", invariants))
        if found != "nothing":
            (name, page), (span,) = re.findall(r"\[(\w+)\]\((\S+)\)", found)[0], re.findall(r"`(.+?)`", at)
            assert page == f"findings/{name}.md"
            findings.append((name, span))
    assert rows, "no table"
    return Verdict(tuple(findings), tuple(sorted(breaks)))


def test_every_verb_has_a_section() -> None:
    """The sections are the verbs with a verdict, and each is a method that a test can call."""
    assert list(SECTIONS) == sorted(SECTIONS, key=list(SECTIONS).index)
    assert set(SECTIONS) == set(VERDICTS)
    public = {
        name
        for kind in (Faults, Held)
        for name, _ in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }
    assert public - {"worker", "close", "wait"} == set(VERDICTS)


@pytest.mark.parametrize("verb", VERDICTS)
def test_table_is_the_verdict(verb: str) -> None:
    """What the page says is found is what the tests on real workers find."""
    expected = VERDICTS[verb]
    assert documented(SECTIONS[verb]) == Verdict(expected.findings, tuple(sorted(expected.breaks)))
    assert {name for name, _ in expected.findings} <= set(TITLES)
    assert set(expected.breaks) <= set(INVARIANTS)


def test_samples_call_what_there_is() -> None:
    """The samples parse, and every verb in them exists with the arguments that it is given."""
    samples = re.findall(r"(?ms)^```python\n(.*?)^```$", TEXT)
    calls = [node for sample in samples for node in ast.walk(ast.parse(sample)) if isinstance(node, ast.Call)]
    kinds = {"faults": Faults, "held": Held}
    checked = 0
    for call in calls:
        target = call.func
        if (
            isinstance(target, ast.Attribute)
            and isinstance(target.value, ast.Name)
            and target.value.id in kinds
        ):
            keywords = {str(keyword.arg): None for keyword in call.keywords}
            method = getattr(kinds[target.value.id], target.attr)
            inspect.signature(method).bind(None, *([None] * len(call.args)), **keywords)
            checked += 1
    assert checked >= 5
