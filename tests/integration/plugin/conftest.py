"""Projects that test themselves with the plugin, run by pytest's own `pytester` in processes of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

PROJECTS = Path(__file__).parent / "projects"
Project = Callable[..., pytest.Pytester]

# The suite's own rule, except for what other packages warn about while Celery's threads end.
INI = """
[pytest]
addopts = -ra -p no:hypothesispytest -p no:anyio
{more}
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Make a project with one of the modules of `projects/`, a configuration file and a test file."""
    for name in ("HANDRAIL_REDIS_URL", "PYTEST_ADDOPTS", "OTEL_TRACES_EXPORTER", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def make(module: str, tests: str, ini: str = "") -> pytest.Pytester:
        pytester.makefile(".py", **{module: (PROJECTS / f"{module}.py").read_text(encoding="utf-8")})
        pytester.makeini(INI.format(more=ini))
        pytester.makepyfile(test_runs=tests)
        return pytester

    return make
