"""Golden files: written where asked, compared otherwise, and each for one shape of one test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from handrail_harness.errors import RunAssertion
from handrail_harness.testing.goldens import Golden

if TYPE_CHECKING:
    from handrail_harness.testing.runs import Run


class Shaped:
    """As much of a run as a golden file looks at."""

    def __init__(self, text: str) -> None:
        self.text = text

    def shape(self, *, in_order: bool = False) -> str:
        return self.text


def shaped(text: str) -> Run:
    run: Any = Shaped(text)
    found: Run = run
    return found


def test_one_file_is_not_for_two_shapes(tmp_path: Path) -> None:
    """Writing the second run over the first would give a file that the same test can never pass."""
    golden = Golden(tmp_path / "test_x.py", "test_two", update=True)
    golden(shaped("agent a\n"))
    golden(shaped("agent a\n"))
    with pytest.raises(RunAssertion, match="golden\\(run, 'second'\\)"):
        golden(shaped("agent b\n"))
    golden(shaped("agent b\n"), "second")
    assert [path.read_text(encoding="utf-8") for path in golden.written] == ["agent a\n", "agent b\n"]


def test_a_run_without_steps_is_no_golden(tmp_path: Path) -> None:
    """An empty file would be equal to every broken run."""
    golden = Golden(tmp_path / "test_x.py", "test_none", update=True)
    with pytest.raises(RunAssertion, match="has no step"):
        golden(shaped("\n"))
    assert golden.written == []


def test_parameters_of_any_length_have_a_file_each(tmp_path: Path) -> None:
    """A name that no file may have is cut, and two of them stay two."""
    first, second = (Golden(tmp_path / "test_x.py", f"test_long[{'x' * 400}{n}]", update=True) for n in "ab")
    first(shaped("agent a\n"))
    second(shaped("agent b\n"))
    assert first.path() != second.path()
    assert first.path().read_text(encoding="utf-8") == "agent a\n"


def test_parameters_with_any_characters_have_a_file_each(tmp_path: Path) -> None:
    """What no file's name may have is replaced, and tests that differ in nothing else stay apart."""
    names = ("test_x[a-b]", "test_x[a/b]", "test_x[a b]", "test_x[ä-b]")
    paths = [Golden(tmp_path / "test_x.py", name, update=False).path() for name in names]
    assert len(set(paths)) == len(names)
    assert paths[0].name == "test_x-a-b.txt"
