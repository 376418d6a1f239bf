"""`handrail spool status [DIR]`: what is recorded, delivered, pending and quarantined in a spool folder."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.markup import escape

from handrail_harness.cli.arguments import SpoolFolder, spool_folder
from handrail_harness.cli.output import print_error, print_json, stdout
from handrail_harness.printable import printable
from handrail_propagation import ConfigurationError
from handrail_propagation.forward.quarantine import FOLDER, PLACES
from handrail_propagation.spool.accounting import Account, Line, account

spool = typer.Typer(
    name="spool", help="Look into a spool folder.", no_args_is_help=True, add_completion=False
)


@spool.callback()
def _group() -> None:
    """Look into a spool folder: records of workers that wait to be forwarded."""


@spool.command()
def status(
    folder: SpoolFolder = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print the account: recorded = delivered + pending + quarantined, for each writer.

    The exit status is 1 when records are quarantined or were dropped, 2 when the folder cannot be read.
    """
    folder = spool_folder(folder)
    try:
        found = account(folder)
    except OSError as error:
        what = f"the spool {folder}" if error.filename in (None, str(folder)) else error.filename
        raise ConfigurationError(f"{what} cannot be read: {error.strerror}.") from None
    if json:
        print_json(found.to_json())
    else:
        _print(found)
    if found.total.quarantined or found.total.dropped or not found.total.is_exact:
        raise typer.Exit(1)


def _print(found: Account) -> None:
    from rich import box
    from rich.table import Table

    if not found.total.recorded and not found.writers:
        stdout.print(escape(f"nothing has been recorded in {found.folder}: is it the folder of the workers?"))
        return
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_footer=True
    )
    total = found.total
    table.add_column("writer", footer="total", no_wrap=True)
    table.add_column("process", overflow="fold", min_width=10)
    for heading in ("recorded", "delivered", "pending", "quarantined", "dropped"):
        table.add_column(heading, footer=f"{getattr(total, heading):,}", justify="right", no_wrap=True)
    for line in found.writers:
        state = "alive" if line.alive else "closed" if line.closed else "gone"
        who = f"{line.pid} on {line.host}, {state}" if line.pid else state
        table.add_row(f"{line.writer:016x}", escape(printable(who)), *_cells(line))
    if found.finished.recorded:
        table.add_row("(forwarded and gone)", "", *_cells(found.finished))
    stdout.print(table)
    oldest = f"; the oldest pending record: {_age(found.oldest_pending)}" if found.oldest_pending else ""
    stdout.print(escape(f"{found.bytes:,} bytes in {found.folder}{oldest}"))
    for one in found.by_destination:
        declined = f" ({one.declined:,} log records are not wanted there)" if one.declined else ""
        text = f"{one.name}: {one.delivered:,} delivered{declined}, {one.pending:,} pending"
        stdout.print(escape(printable(f"→ {text}, {one.quarantined:,} quarantined")))
    if not found.by_destination:
        stdout.print("forwarded to nowhere yet")
    for line in found.writers:
        for place in line.damages:
            damage = place.damage
            print_error(
                f"quarantined: {place.path.name} at {damage.offset}, {damage.end - damage.offset} bytes: "
                f"{damage.reason}"
            )
        for numbers in line.lost:
            print_error(f"lost: records {numbers[0]} to {numbers[-1]} of writer {line.writer:016x}")
    if found.total.quarantined and (places := found.folder / FOLDER / PLACES).exists():
        print_error(f"each place that was quarantined, and why: {places}")


def _cells(line: Line) -> list[str]:
    numbers = (line.recorded, line.delivered, line.pending, line.quarantined, line.dropped)
    return [f"{number:,}" for number in numbers]


def _age(unix_nano: int) -> str:
    seconds = max(time.time() - unix_nano / 1e9, 0.0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
