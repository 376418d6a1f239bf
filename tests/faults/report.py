"""Writes the table in docs/durability.md from what the fault tests have measured.

    HANDRAIL_FIGURES=tests/faults/figures uv run pytest tests/faults
    uv run python -m tests.faults.report

A figure is a file of numbers that a test, or a campaign's `--figures`, has left. Every number in the table comes from
one of them; a row whose figures are missing is an error, not an empty cell.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
FIGURES: Final = Path(__file__).parent / "figures"
PAGE: Final = ROOT / "docs" / "durability.md"
BEGIN: Final = "<!-- figures: begin; written by tests/faults/report.py -->"
END: Final = "<!-- figures: end -->"
HEAD: Final = ("fault", "promise", "test", "result", "stock")

Figures = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. `result` and `stock` are format strings; `{kills}` is a number of the figure named beside them."""

    fault: str
    promise: str
    test: str
    """`file::name` below tests/, of the test that holds the promise."""
    figure: str
    result: str
    stock_figure: str
    stock: str

    def cells(self, figures: Figures) -> tuple[str, ...]:
        """Return the row as the page has it. Raises `KeyError` for a figure that is not there."""
        path, _, name = self.test.partition("::")
        return (
            self.fault.format_map(figures[self.figure]),
            self.promise,
            f"[{name}](../tests/{path})",
            self.result.format_map(figures[self.figure]),
            self.stock.format_map(figures[self.stock_figure] if self.stock_figure else {}),
        )


def table(figures: Figures) -> str:
    """Return the table in Markdown."""
    from .rows import ROWS

    rows = [HEAD, tuple("---" for _ in HEAD), *(row.cells(figures) for row in ROWS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def load(folder: Path = FIGURES) -> dict[str, dict[str, Any]]:
    """Return all figures of a folder by name."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return {figure["name"]: figure for figure in found}


def figure(name: str, **numbers: Any) -> None:
    """Keep what was measured, and today's date, in the folder HANDRAIL_FIGURES; does nothing where that is not set."""
    if folder := os.environ.get("HANDRAIL_FIGURES"):
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        text = json.dumps({"name": name, "date": today, **numbers}, indent=1)
        (Path(folder) / f"{name.replace(' ', '-')}.json").write_text(text + "\n", encoding="utf-8")


def insert(page: str, text: str) -> str:
    """Return the page with `text` between its markers. Raises `ValueError` when it has none."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"no {BEGIN} ... {END} in the page")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main() -> int:
    """Rewrite the table."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(insert(page, table(load())), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
