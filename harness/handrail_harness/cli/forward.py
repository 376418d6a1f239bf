"""`handrail forward [DIR]`: ship a spool folder over OTLP, as a process of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from handrail_harness.cli.arguments import SpoolFolder, spool_folder
from handrail_harness.cli.output import print_json, progress
from handrail_propagation import ConfigurationError

if TYPE_CHECKING:
    from handrail_propagation.forward.forwarder import Forwarder

_SAY_EVERY = 0.5


def forward(
    folder: SpoolFolder = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="URL",
            help="http://host:4318, https://…, grpc://host:4317, grpcs://… or file:///folder; may be given again. "
            "Without it: "
            "HANDRAIL_FORWARD_TO, else OTEL_EXPORTER_OTLP_ENDPOINT.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Stop as soon as everything in the folder is delivered.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the account as JSON in the end.")] = False,
) -> None:
    """Forward what workers have recorded in a spool folder, at least once and in order, until Ctrl-C.

    The exit status is 1 when something is in quarantine or was dropped or, with --once, is left behind; 2 when the
    folder cannot be forwarded: it is not there, or another process forwards it.
    """
    from opentelemetry.sdk.resources import Resource

    from handrail_propagation.config import Config
    from handrail_propagation.forward.destination import destinations
    from handrail_propagation.forward.forwarder import Forwarder
    from handrail_propagation.forward.metrics import observe
    from handrail_propagation.providers import meter_provider_of
    from handrail_propagation.spool.accounting import account
    from handrail_propagation.spool.process import check_private

    folder = spool_folder(folder)
    config = Config.from_environment()
    found = destinations(replace(config, forward_to=tuple(to)) if to else config)
    if not found:
        raise ConfigurationError(
            "there is no destination: OTEL_TRACES_EXPORTER and OTEL_LOGS_EXPORTER say none."
        )
    forwarder = Forwarder(folder, found)
    try:
        check_private(folder)
        elected = forwarder.elect()
    except OSError as error:
        raise ConfigurationError(f"the spool {folder} cannot be forwarded: {error.strerror}.") from None
    if not elected:
        raise ConfigurationError(
            f"another process forwards {folder}: a worker does so by itself, unless HANDRAIL_FORWARD=none."
        )
    meters = meter_provider_of(config, Resource.create())
    observe(meters, folder, lambda: forwarder.is_elected)
    names = ", ".join(destination.name for destination in found)
    with progress() as say:
        say(f"{folder} → {names}")
        _run(forwarder, say, once=once, ending=getattr(meters, "shutdown", lambda: None))
    left = account(folder).total
    if json:
        print_json(account(folder).to_json())
    if left.quarantined or left.dropped or (once and left.pending):
        raise typer.Exit(1)


def _run(forwarder: Forwarder, say: Callable[[str], None], *, once: bool, ending: Callable[[], None]) -> None:
    stopping = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        forwarder.start(once=once)
        said = ""
        while forwarder.is_running and not stopping.wait(_SAY_EVERY):
            delivered = min(shipper.ledger.delivered for shipper in forwarder.shippers)
            trouble = "; ".join(shipper.trouble for shipper in forwarder.shippers if shipper.trouble)
            text = f"{delivered:,} records delivered" + (f"; waiting: {trouble}" if trouble else "")
            if text != said:
                say(text)
                said = text
        if stopping.is_set() and not once:
            forwarder.flush(2.0)
    finally:
        ending()  # metrics are only reported by who forwards
        forwarder.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
