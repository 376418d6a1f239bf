"""The documentation says what the code does: pages, names, variables and links are compared with it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from handrail_harness.findings.base import FindingName
from handrail_harness.investigate import investigate
from handrail_harness.rules import INVARIANTS, NAMES, InvariantName, check
from handrail_harness.strategies import FAULTS, INVARIANT_FAULTS, Fault, Topology, run_of
from handrail_propagation.config import Config

from .support.runs import MemorySource, cleanup_run

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])


def test_every_finding_has_a_page() -> None:
    """A name on the screen leads to a page, and no page is about a name that does not exist."""
    names = set(get_args(FindingName))
    assert names
    assert {path.stem for path in (DOCS / "findings").glob("*.md")} == names | {"README"}
    index = (DOCS / "findings" / "README.md").read_text(encoding="utf-8")
    for name in names:
        assert f"({name}.md)" in index
        text = (DOCS / "findings" / f"{name}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# {name}\n")
        for heading in ("## Why it matters", "## Example", "## What to do"):
            assert heading in text


def test_every_rule_is_in_the_index() -> None:
    """The rules that `check` prints are in one table, each with the findings that tell of its breach."""
    rules = check(MemorySource(cleanup_run().spans)).rules
    assert rules
    index = (DOCS / "findings" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", index, flags=re.MULTILINE) == list(rules)


@pytest.mark.parametrize("name", NAMES)
def test_every_invariant_has_a_page(name: InvariantName) -> None:
    """Page and index say what the table says: the statement, and whether a breach is healing or final."""
    invariant = INVARIANTS[name]
    text = (DOCS / "invariants" / f"{name}.md").read_text(encoding="utf-8")
    statement = invariant.statement[0].upper() + invariant.statement[1:]
    assert text.startswith(f"# {name}\n\n{statement}.\n\n**A breach is**: {invariant.standing}")
    for heading in ("## Why it matters", "## Example", "## What to do"):
        assert heading in text
    index = (DOCS / "invariants" / "README.md").read_text(encoding="utf-8")
    assert f"| [{name}]({name}.md) | {invariant.statement} | {invariant.standing}" in index


def test_no_page_is_about_another_invariant() -> None:
    """What is not in the table has no page."""
    assert {path.stem for path in (DOCS / "invariants").glob("*.md")} == {*NAMES, "README"}


def test_examples_of_invariants_are_what_faults_give() -> None:
    """The example on each page is a line that a fault really gives, apart from ids and figures."""
    given: dict[str, set[str]] = {}
    for fault in (*FAULTS, *INVARIANT_FAULTS):
        spans = fault(run_of(Topology(delegates=(Topology(),))).spans, lambda choices: choices[0])[0]
        for line in check(MemorySource(spans), f"{1:032x}").problems():
            name, _, rest = line.partition(": ")
            given.setdefault(name, set()).add(_masked(f"{name}  {rest}"))
    for name in NAMES:
        text = (DOCS / "invariants" / f"{name}.md").read_text(encoding="utf-8")
        (example,) = re.findall(rf"^{name}  .+$", text, flags=re.MULTILINE)
        assert _masked(example) in given[name]


def _masked(line: str) -> str:
    return re.sub(r"[0-9a-f]{16,32}|[0-9][0-9,.]*", "#", line)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_pages_say_what_faults_give(fault: Fault) -> None:
    """Page and index have the severity that a fault gets, the form of the screen, and the rules that it breaks."""
    spans, name, _ = fault(cleanup_run().spans, lambda choices: choices[0])
    (finding,) = [one for one in investigate(MemorySource(spans)).findings if one.name == name]
    page = (DOCS / "findings" / f"{name}.md").read_text(encoding="utf-8")
    (levels,) = re.findall(r"^\*\*Severity\*\*: (.+)$", page, flags=re.MULTILINE)
    assert finding.severity in levels.split(" or ")
    assert re.search(rf"^(?:{'|'.join(levels.split(' or '))})  {name}  ", page, flags=re.MULTILINE)
    index = (DOCS / "findings" / "README.md").read_text(encoding="utf-8")
    assert f"| [{name}]({name}.md) | {levels} |" in index
    for rule, places in check(MemorySource(spans)).rules.items():
        (row,) = re.findall(rf"^\| `{rule}` \|.+$", index, flags=re.MULTILINE)
        assert not places or f"({name}.md)" in row, rule


def test_every_variable_is_in_the_table() -> None:
    """Whatever variable of ours the code reads, docs/configuration.md has it, and none that it does not read."""
    sources = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("propagation", "agents", "harness")
        for path in (ROOT / folder).rglob("*.py")
    )
    sources += (ROOT / "compose.yaml").read_text(encoding="utf-8")
    read = set(re.findall(r"HANDRAIL_[A-Z][A-Z_]*[A-Z]", sources))
    table = set(re.findall(r"`(HANDRAIL_[A-Z_]+)`", (DOCS / "configuration.md").read_text(encoding="utf-8")))
    assert read
    assert read - table == set()
    assert table - read <= {"HANDRAIL_REQUIRE_CONTAINERS"}, "read by the tests only"


def test_settings_of_propagation_are_in_the_table() -> None:
    """Each field of the settings table is documented with its variables."""
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    for entry in fields(Config):
        for variable in entry.metadata["variables"]:
            assert f"`{variable}`" in text, f"{variable} ({entry.name})"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file or folder of the checkout."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_tests_exist(page: Path) -> None:
    """A page that names a test (`test_file.py::test_name`) names one that is there."""
    for file, name in re.findall(r"\b(test_\w+\.py)::(test_\w+)", page.read_text(encoding="utf-8")):
        texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob(file)]
        assert any(f"def {name}(" in text for text in texts), f"{file} has no {name}"


def test_every_situation_has_a_test() -> None:
    """The table of docs/propagation.md names a test in each row."""
    text = (DOCS / "propagation.md").read_text(encoding="utf-8").partition("## Situation by situation")[2]
    _, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) >= 30
    assert [row for row in rows if not re.search(r"`test_\w+\.py::test_\w+`[^|]*\|$", row)] == []


def test_decision_records_are_in_the_index() -> None:
    """docs/adr/README.md lists every record."""
    index = (DOCS / "adr" / "README.md").read_text(encoding="utf-8")
    records = sorted(path.name for path in (DOCS / "adr").glob("0*.md"))
    assert records
    assert [name for name in records if f"({name})" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_fits(page: Path) -> None:
    """Lines of prose have at most 120 characters; tables and blocks of code have as many as they need."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")] == []
