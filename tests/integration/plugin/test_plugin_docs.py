"""docs/testing.md says what works: its files, put together as a project, pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import Project

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.integration

PAGE = Path(__file__).resolve().parents[3] / "docs" / "testing.md"


def test_the_page_is_a_project_that_passes(project: Project) -> None:
    """Every file of the page is written down, the golden file as the page shows it, and all tests pass."""
    text = PAGE.read_text(encoding="utf-8")
    files = re.findall(r"^```(?:python|ini)\n# ([\w.]+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    names = [name for name, _ in files]
    assert {"ops.py", "test_ops.py", "shop.py", "test_shop.py", "test_queries.py", "test_golden.py"} <= set(
        names
    )
    pytester = project("ops", "")
    for name, content in files:
        (pytester.path / name).write_text(content, encoding="utf-8")
    (golden,) = re.findall(r"^```text\n(agent cleaner\n.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    shape = pytester.path / "goldens" / "test_golden" / "test_shape.txt"
    shape.parent.mkdir(parents=True)
    shape.write_text(golden, encoding="utf-8")
    pytester.runpytest_subprocess("--ignore=test_shop.py").assert_outcomes(passed=5)
    pytester.runpytest_subprocess("test_shop.py", "--override-ini=handrail_app=").assert_outcomes(passed=2)
