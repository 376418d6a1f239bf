"""`handrail traces [SOURCE]`: the latest traces, to pick one by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from handrail_harness.cli.output import print_error, print_json, stderr, stdout
from handrail_harness.printable import printable
from handrail_harness.sources import open_source
from handrail_harness.spans import TraceSummary


def traces(
    source: Annotated[
        str, typer.Argument(help="Where the spans are: store, file:PATH or jaeger:URL.", show_default=True)
    ] = "store",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the latest traces of a source, newest first."""
    from handrail_harness.sources.store import StoreSource

    reader = open_source(source)
    try:
        found = reader.traces(limit)
        damaged = reader.status()["damaged"] if isinstance(reader, StoreSource) else []
    finally:
        reader.close()
    if json:
        print_json([asdict(summary) for summary in found])
    elif found:
        _print_table(found)
    else:
        stderr.print(f"no traces in {source} yet")
    for place in damaged:
        print_error(f"raw log damaged: {place}")


def _print_table(found: Sequence[TraceSummary]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("trace", "root", "started (UTC)"):
        table.add_column(heading, no_wrap=heading == "trace", overflow="fold")
    table.add_column("seconds", justify="right")
    table.add_column("spans", justify="right")
    table.add_column("run", overflow="fold")
    for summary in found:
        table.add_row(
            summary.trace_id,
            escape(printable(summary.root_name)) or "(no root)",
            f"{datetime.fromtimestamp(summary.start_unix_nano / 1e9, UTC):%Y-%m-%d %H:%M:%S}",
            f"{max(0, summary.end_unix_nano - summary.start_unix_nano) / 1e9:.3f}",
            str(summary.spans),
            escape(printable(summary.run_id)) or "-",
        )
    stdout.print(table)
