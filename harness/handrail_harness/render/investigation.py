"""Puts an investigation on the screen: headline, tree, what, why, touched, findings."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.text import Text

from handrail_harness.investigate import Investigation
from handrail_harness.render.answers import answers
from handrail_harness.render.headline import headline
from handrail_harness.render.style import signs_for
from handrail_harness.render.tree import render_tree


def render_investigation(investigation: Investigation, *, full: bool = False) -> InvestigationPicture:
    """Return the whole picture as a rich renderable; bounded in length unless `full`."""
    return InvestigationPicture(investigation, full)


class InvestigationPicture:
    """A rich renderable; follows the width, the colours and the encoding of the console."""

    def __init__(self, investigation: Investigation, full: bool) -> None:
        self._investigation = investigation
        self._full = full

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        signs = signs_for(console)
        yield headline(self._investigation, signs)
        yield Text("")
        yield Padding(render_tree(self._investigation, full=self._full), (0, 0, 0, 1))
        yield from answers(self._investigation, signs, options.max_width, self._full)
        yield Text("")
