"""What a failed assertion about a run shows: what is wrong, the cause where the pattern is known, the drawn tree.

Bounded in length, with and without colour; the run itself is saved beside the report, so that
`handrail show FILE` draws it again, in full.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from handrail_harness.errors import RunAssertion
from handrail_harness.forest import Key, key_of
from handrail_harness.investigate import Investigation, investigate_run
from handrail_harness.printable import printable
from handrail_harness.render import render_tree
from handrail_harness.rules import RunSpans
from handrail_harness.testing.causes import causes_of
from handrail_harness.testing.tornoff import Branch, torn_off

if TYPE_CHECKING:
    from handrail_harness.rules import Breach, Settled, Waiver
    from handrail_harness.shapes.matching import Mismatch
    from handrail_harness.shapes.words import Shape
    from handrail_harness.testing.runs import Run
    from handrail_harness.testing.surroundings import Surroundings

_WIDTH = 110
_PROBLEMS, _CAUSES, _CLUES, _SHAPE, _TREE, _BRANCH = 12, 6, 16, 24, 40, 12
"""Lines that each part may take."""
_BRANCHES = 2
"""So many branches torn off are drawn; the cause lines name more."""


class Failure:
    """Draws one run for a test that failed on it."""

    def __init__(self, run: Run, around: Surroundings) -> None:
        self._run = run
        self._around = around

    def not_unified(
        self, settled: Settled, broken: Sequence[Breach], unused: Sequence[Waiver]
    ) -> RunAssertion:
        """Return the error of a run that breaks invariants, has not come to rest, or needed no waiver."""
        report = settled.report
        if not report.forest.spans:
            headline = f"no span of trace {self._run.trace_id} has arrived"
        elif broken:
            names = dict.fromkeys(one.invariant for one in broken)
            headline = (
                f"{'not one unified tree' if not report.unified else 'a broken run'}: {', '.join(names)}"
            )
        elif not settled.closed:
            headline = "the run has not come to rest"
        elif not any(span.kind in ("producer", "consumer") for span in report.forest.spans):
            headline = "the run has no hand-off, so that it is one tree proves nothing"
        else:
            headline = "waivers that excused nothing"
        lines = [str(one) for one in broken]
        lines += [f"unused waiver of {waiver}: take it out" for waiver in unused]
        causes = causes_of(settled, self._around)
        marks = {key_of(one.span): f"{one.invariant}: {one.detail}" for one in reversed(broken)}
        branches = torn_off(settled, self._around)
        for one in branches:
            marks[key_of(one.send)] = f"torn off: its receipt is in trace {one.trace_id}"
        clues = settled.explain().splitlines() if not settled.closed else []
        return self._error(headline, lines, causes, clues, "", marks, branches)

    def not_of_shape(self, shapes: Sequence[Shape], found: Sequence[Mismatch]) -> RunAssertion:
        """Return the error of a run that has another shape than the test says."""
        marks = {key_of(one.span): one.text for one in reversed(found) if one.span is not None}
        wanted = "\n".join(shape.text() for shape in shapes)
        causes = [] if self._run.report.unified else causes_of(self._run.settled, self._around)
        return self._error(
            "the run has another shape", [one.text for one in found], causes, [], wanted, marks
        )

    def picture(self, marks: dict[Key, str] | None = None, *, colour: bool = False) -> str:
        """Return the drawn tree alone."""
        return rendered(render_tree(self._run.investigation, lines=_TREE, marks=marks), colour=colour)

    def _error(
        self,
        headline: str,
        problems: Sequence[str],
        causes: Sequence[str],
        clues: Sequence[str],
        wanted: str,
        marks: dict[Key, str],
        branches: Sequence[Branch] = (),
    ) -> RunAssertion:
        parts: list[RenderableType] = [Text(headline, style="bold red")]
        parts += _lines(problems, _PROBLEMS, "  ")
        parts += _lines([f"cause: {one}" for one in causes], _CAUSES, "  ", style="bold yellow")
        parts += _lines(clues, _CLUES, "  ", style="dim")
        if wanted:
            parts += [Text("wanted", style="bold"), *_lines(wanted.splitlines(), _SHAPE, "  ")]
        if self._run.spans:
            parts += [Text(f"the run, trace {self._run.trace_id}", style="bold")]
            parts.append(
                Padding(render_tree(self._run.investigation, lines=_TREE, marks=marks), (0, 0, 0, 1))
            )
        for branch in branches[:_BRANCHES]:
            parts.append(Text(f"torn off it, trace {branch.trace_id}", style="bold"))
            receipt = {key_of(branch.receipt): f"torn off: span {branch.send.span_id} of the run sent it"}
            parts.append(Padding(render_tree(_alone(branch), lines=_BRANCH, marks=receipt), (0, 0, 0, 1)))
        error = RunAssertion(rendered(*parts, colour=False))
        error.coloured = rendered(*parts, colour=True)
        error.run = self._run
        return error


def _alone(branch: Branch) -> Investigation:
    """Return what `handrail investigate` says about a branch, taken for a run of its own."""
    traces = (branch.trace_id,)
    return investigate_run(RunSpans("", branch.trace_id, "", traces, branch.spans, branch.events))


def rendered(*parts: RenderableType, colour: bool) -> str:
    """Return parts of a picture as text, with ANSI colours or without; plain lines are not wrapped."""
    console = Console(
        file=io.StringIO(),
        width=_WIDTH,
        force_terminal=colour,
        no_color=not colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
        _environ={},
    )
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text))
    file = console.file
    text = file.getvalue() if isinstance(file, io.StringIO) else ""
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def _lines(lines: Iterable[str], most: int, indent: str, *, style: str = "") -> list[Text]:
    every = [line for text in lines for line in text.splitlines()]
    shown = [Text(indent + printable(line, 400), style=style) for line in every[:most]]
    if len(every) > most:
        shown.append(Text(f"{indent}... and {len(every) - most} lines more", style="dim"))
    return shown
