"""`handrail sweep`: remove what test sessions left behind that were killed."""

from __future__ import annotations

import typer

from handrail_harness.cli.output import stderr, stdout


def sweep() -> None:
    """Remove processes, containers, queues and folders of killed test sessions; living ones are left alone."""
    from handrail_harness.testing.sweeping import sweep as sweep_all

    done = sweep_all()
    for line in done:
        stdout.print(line, markup=False)
    if not done:
        stderr.print("nothing to sweep")
    if any(line.startswith("not removed") for line in done):
        raise typer.Exit(1)
