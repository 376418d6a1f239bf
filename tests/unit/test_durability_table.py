"""The table in docs/durability.md is what the fault tests measured, and every test in it exists."""

from __future__ import annotations

import re

import pytest

from ..faults import report
from ..faults.rows import ROWS


def _rows() -> list[list[str]]:
    page = report.PAGE.read_text(encoding="utf-8")
    text = page.partition(report.BEGIN)[2].partition(report.END)[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.strip().splitlines()]


def test_the_table_is_well_formed() -> None:
    """A head, a rule, and for each fault five cells that say something."""
    head, rule, *rows = _rows()
    assert tuple(head) == report.HEAD
    assert set(rule) == {"---"}
    assert len(rows) == len(ROWS)
    assert [row for row in rows if len(row) != len(report.HEAD) or not all(row)] == []


def test_the_table_is_what_was_measured() -> None:
    """No number in it was written by hand: it is what the files in tests/faults/figures give."""
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.insert(page, report.table(report.load())) == page


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.figure)
def test_the_test_of_a_row_exists(row: report.Row) -> None:
    """Each row names a file and a test in it."""
    path, _, name = row.test.partition("::")
    text = (report.ROOT / "tests" / path).read_text(encoding="utf-8")
    assert re.search(rf"^def {name}\(", text, flags=re.MULTILINE)


def test_figures_say_when_and_nothing_was_lost() -> None:
    """Each figure has its date; ours have no loss, but for what a destination has rejected: that is in quarantine."""
    figures = report.load()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", figure["date"]) for figure in figures.values())
    for row in ROWS:
        figure = figures[row.figure]
        for wrong in ("effects_without_record", "acknowledged_lost", "inexact", "left", "ended_twice"):
            assert figure.get(wrong, 0) == 0, (row.figure, wrong)
        explained = figure["quarantined"] if "destination" in row.figure else 0
        assert figure.get("lost", 0) == explained, row.figure


def test_a_page_without_markers_is_refused() -> None:
    """A report that finds no place for its table says so."""
    with pytest.raises(ValueError, match="figures: begin"):
        report.insert("# A page", "a table")
