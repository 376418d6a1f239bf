"""`handrail investigate SOURCE [TRACE]`: what did the run do, why, and what did it touch."""

from __future__ import annotations

from typing import Annotated

import typer

from handrail_harness.cli.arguments import SOURCE_HELP, TRACE_HELP, which
from handrail_harness.cli.output import print_json, stdout
from handrail_harness.investigate import investigate as find_out
from handrail_harness.sources import open_source


def investigate(
    source: Annotated[str, typer.Argument(help=SOURCE_HELP)] = "store",
    trace: Annotated[str | None, typer.Argument(help=TRACE_HELP)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON document.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show every span and row, however many.")] = False,
) -> None:
    """Show the trace tree with the branch that went wrong, and answer: what, why, touched."""
    source, trace = which(source, trace)
    reader = open_source(source)
    try:
        investigation = find_out(reader, trace)
    finally:
        reader.close()
    if json:
        print_json(investigation.document())
        return
    from handrail_harness.render import render_investigation

    stdout.print(render_investigation(investigation, full=full), soft_wrap=False)
