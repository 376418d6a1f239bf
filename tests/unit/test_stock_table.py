"""The column of the stock instrumentation in docs/propagation.md is what was measured."""

from __future__ import annotations

import re

import pytest

from ..faults.report import load
from ..stock.cells import CELLS, FIGURES, PAGE, filled


def test_the_stock_column_is_what_was_measured() -> None:
    """No figure in it was written by hand: it is what the files in tests/stock/figures give, each with its date."""
    figures = load(FIGURES)
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, figures) == page
    assert {name for name, _ in CELLS.values()} == set(figures)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", figure["date"]) for figure in figures.values())


def test_nothing_is_left_unmeasured() -> None:
    """The table says of no situation that nobody tried."""
    assert "not measured" not in PAGE.read_text(encoding="utf-8")


def test_a_situation_without_a_row_is_refused() -> None:
    """A figure that would be shown nowhere is an error."""
    with pytest.raises(ValueError, match="no row for"):
        filled("| a page | without | rows |", load(FIGURES))
