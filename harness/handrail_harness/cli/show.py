"""`handrail show FILE`: draw the runs that a failed test saved, or any other file of OTLP-JSON lines."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from handrail_harness.cli.output import print_json, stdout
from handrail_harness.errors import TraceNotFound
from handrail_harness.forest import key_of
from handrail_harness.investigate import investigate
from handrail_harness.render import render_tree
from handrail_harness.render.headline import headline
from handrail_harness.render.style import signs_for
from handrail_harness.sources.otlpfile import OTLPFileSource

_TRACES = 1000


def show(
    file: Annotated[str, typer.Argument(help="A file of OTLP-JSON lines, as failed tests save it.")],
    trace: Annotated[
        str | None, typer.Argument(help="Only this trace or run; every run of the file when left out.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Draw every span, however many there are.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list: for each run what `investigate` finds.")
    ] = False,
) -> None:
    """Draw the trees of a file, with what broke each of them marked at its span."""
    source = OTLPFileSource(file.removeprefix("file:"))
    seen: set[str] = set()
    documents: list[dict[str, Any]] = []
    wanted = [trace] if trace is not None else [one.trace_id for one in reversed(source.traces(_TRACES))]
    if not wanted:
        raise TraceNotFound(f"{file} holds events, but no span to draw")
    for one in wanted:
        if one in seen:
            continue
        found = investigate(source, one)
        seen.update(found.report.trace_ids)
        if json:
            documents.append(found.document())
            continue
        marks = {
            key_of(breach.span): f"{breach.invariant}: {breach.detail}" for breach in found.report.breaches
        }
        if found.culprit is not None and found.report.unified:
            marks = {}  # the tree is whole: what went wrong is what an agent did
        picture: Any = render_tree(found, full=full, marks=marks)
        stdout.print(headline(found, signs_for(stdout)), soft_wrap=False)
        stdout.print(Text(""))
        stdout.print(picture, soft_wrap=False)
        stdout.print(Text(""))
    if json:
        print_json(documents)
