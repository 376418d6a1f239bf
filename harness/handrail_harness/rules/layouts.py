"""Spans sorted by what they look like: of a million spans a few dozen layouts, each reasoned about once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handrail_harness.columns import Columns
from handrail_harness.identities import Positions
from handrail_harness.looks import Look
from handrail_harness.spans import AttributeValue


@dataclass(frozen=True, slots=True)
class Layout:
    """The spans of one look: the `positions` of `n` of them in the columns."""

    look: Look
    positions: Positions
    columns: Columns

    def column(self, key: str) -> list[AttributeValue]:
        """Return the value of one attribute, which is among the look's `keys`, of each span."""
        return [span.attributes[key] for span in self.columns.at(self.positions.tolist())]


def layouts_of(columns: Columns) -> list[Layout]:
    """Sort the spans by look."""
    looks = columns.looks
    if not looks:
        return []
    # Numbers of 16 bits, where they do, are sorted in one pass.
    number = columns.look.astype(np.uint16) if len(looks) <= 2**16 else columns.look
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number, minlength=len(looks)))
    return [
        Layout(look, positions, columns)
        for look, positions in zip(looks, np.split(order, ends[:-1]), strict=True)
    ]
