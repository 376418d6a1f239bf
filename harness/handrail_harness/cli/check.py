"""`handrail check SOURCE [TRACE]`: is a run one unified tree? Exit status 0 yes, 1 no, 2 not readable.

With `--invariants all`: does it keep every invariant?
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from handrail_harness.cli.arguments import SOURCE_HELP, TRACE_HELP, which
from handrail_harness.cli.output import print_json, stdout
from handrail_harness.rules import settled
from handrail_harness.sources import open_source


def check(
    source: Annotated[str, typer.Argument(help=SOURCE_HELP)] = "store",
    trace: Annotated[str | None, typer.Argument(help=TRACE_HELP)] = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="Wait so many seconds for the tree to become whole.")
    ] = 0.0,
    invariants: Annotated[
        Literal["tree", "all"],
        typer.Option(
            "--invariants",
            help="What the exit status tells of: the tree alone, or every invariant (see docs/invariants).",
        ),
    ] = "tree",
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check that a run is one unified trace tree, with every hand-off received below its send.

    With --invariants all, that it keeps every other invariant, too.
    """
    source, trace = which(source, trace)
    reader = open_source(source)
    try:
        report = settled(reader, trace, wait=wait)
    finally:
        reader.close()
    if json:
        print_json(report.document())
    else:
        from handrail_harness.render import render_report

        stdout.print(render_report(report, every=invariants == "all"), soft_wrap=False)
    if not (report.sound if invariants == "all" else report.unified):
        raise typer.Exit(1)
