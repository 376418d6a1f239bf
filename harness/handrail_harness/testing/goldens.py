"""Golden files: the canonical shape of a run, kept in Git, compared in tests, written anew with --update-golden."""

from __future__ import annotations

import difflib
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from handrail_harness.errors import RunAssertion
from handrail_harness.shapes.canonical import changes

if TYPE_CHECKING:
    from handrail_harness.testing.runs import Run

FOLDER = "goldens"
_DIFF = 40  # lines of a difference that are shown
_STEM = 120  # characters of a file's name
# Names that a file's name tells apart: `test_volumes[small-2]`.
_TELLING = re.compile(r"[A-Za-z0-9_.:\[\]-]*")


class Golden:
    """The golden files of one test: `golden(run)` compares, or writes."""

    def __init__(self, test_file: Path, test_name: str, *, update: bool) -> None:
        self._folder = test_file.parent / FOLDER / test_file.stem
        self._test = test_name
        self._update = update
        self._compared: dict[Path, str] = {}
        self.written: list[Path] = []
        """Files that were written anew."""

    def __call__(self, run: Run, name: str = "", *, in_order: bool = False) -> None:
        """Assert that the shape of `run` is that of the golden file; raises `RunAssertion`.

        `name` tells several golden files of one test apart. With `in_order` siblings keep the order in which they
        began, which only holds where nothing runs side by side.
        """
        __tracebackhide__ = True
        path = self.path(name)
        actual = run.shape(in_order=in_order)
        if not actual.strip():
            raise RunAssertion(f"{run!r} has no step, so a golden file of it would prove nothing")
        if self._compared.setdefault(path, actual) != actual:
            raise RunAssertion(
                f"this test has compared another shape with {path} already; tell the two apart by a name, as in "
                f"golden(run, 'second')\n\n{actual}"
            )
        if self._update:
            if not path.exists() or path.read_text(encoding="utf-8") != actual:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(actual, encoding="utf-8")
                self.written.append(path)
            return
        if not path.exists():
            raise RunAssertion(
                f"there is no golden file {path}; write it with --update-golden, and read it\n\n{actual}"
            )
        wanted = path.read_text(encoding="utf-8")
        if wanted != actual:
            raise _changed(path, wanted, actual, run)

    def path(self, name: str = "") -> Path:
        """Return the golden file of this test."""
        given = self._test + (f"-{name}" if name else "")
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", given).strip("-")
        # A file's name has at most 255 characters, a test's parameters may have more, and others: `a/b` is not `a-b`
        if len(stem) > _STEM or not _TELLING.fullmatch(given):
            stem = f"{stem[:_STEM]}-{hashlib.sha256(given.encode()).hexdigest()[:8]}"
        return self._folder / f"{stem}.txt"


def _changed(path: Path, wanted: str, actual: str, run: Run) -> RunAssertion:
    told = changes(wanted, actual) or ["only the layout of the file differs"]
    difference = list(
        difflib.unified_diff(wanted.splitlines(), actual.splitlines(), "golden", "this run", lineterm="", n=3)
    )
    more = [f"... and {len(difference) - _DIFF} lines more"] if len(difference) > _DIFF else []
    lines = [
        f"the shape of the run is not that of {path}",
        *(f"  {one}" for one in told[:12]),
        "",
        *difference[:_DIFF],
        *more,
        "",
        "where the change is wanted: run again with --update-golden",
    ]
    error = RunAssertion("\n".join(lines))
    error.run = run
    return error
