"""The typer application: sub-commands by name, errors as one line, exit statuses.

Exit statuses: 0 what was asked for is so; 1 it is not (a broken tree, a failed run); 2 the command could
not do its work (wrong argument, unreachable server); 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer

from handrail_harness.cli.output import print_error
from handrail_propagation.errors import HandrailError

app = typer.Typer(
    name="handrail",
    help="Multi-agent decision tracing over message queues: what did it do, why, and what did it touch.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# One module per sub-command, each with a function of its own name. The order is the order of `handrail
# --help`.
COMMANDS = {
    "demo": "demo",
    "investigate": "investigate",
    "check": "check",
    "conformance": "conformance",
    "run": "run",
    "worker": "worker",
    "up": "up",
    "serve": "serve",
    "traces": "traces",
    "forward": "forward",
    "show": "show",
    "sweep": "sweep",
    "spool": "spool",
}

for _name, _module in COMMANDS.items():
    _command = importlib.import_module(f"handrail_harness.cli.{_module}")
    _found = getattr(_command, _name)
    if isinstance(_found, typer.Typer):
        app.add_typer(_found, name=_name)
    else:
        app.command(_name)(_found)


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="HANDRAIL_DEBUG", help="Show the traceback of an error.")
    ] = False,
) -> None:
    if debug:
        os.environ["HANDRAIL_DEBUG"] = "1"


def run() -> None:
    """Run the application; a `HandrailError` or a time-out becomes one line on stderr and exit status 2."""
    if "--debug" in sys.argv[1:]:  # accepted anywhere on the line, as people type it at the end
        sys.argv[1:] = ["--debug", *(word for word in sys.argv[1:] if word != "--debug")]
    try:
        app()
    except (HandrailError, TimeoutError) as error:
        if os.environ.get("HANDRAIL_DEBUG"):
            raise
        print_error(str(error))
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
