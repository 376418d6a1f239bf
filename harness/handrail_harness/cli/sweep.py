"""`handrail sweep`: remove what test sessions left behind that were killed."""

from __future__ import annotations

from typing import Annotated

import typer

from handrail_harness.cli.output import print_json, stderr, stdout


def sweep(
    json: Annotated[bool, typer.Option("--json", help="Print what was and was not removed as JSON.")] = False,
) -> None:
    """Remove processes, containers, queues and folders of killed test sessions; living ones are left alone.

    Exit status 1 when something could not be removed.
    """
    from handrail_harness.testing.sweeping import sweep as sweep_all

    done = sweep_all()
    left = [line for line in done if line.startswith("not removed")]
    if json:
        print_json({"removed": [line for line in done if line not in left], "not_removed": left})
    else:
        for line in done:
            stdout.print(line, markup=False)
        if not done:
            stderr.print("nothing to sweep")
    if left:
        raise typer.Exit(1)
