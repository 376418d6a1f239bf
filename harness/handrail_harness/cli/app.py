"""The typer application: sub-commands by name, errors as one line, exit statuses.

Exit statuses: 0 what was asked for is so; 1 it is not (a broken tree, a failed run); 2 the command could
not do its work (wrong argument, unreachable server); 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from handrail_harness.cli.output import give_up_stdout, print_error
from handrail_propagation.errors import HandrailError

# One module per sub-command, each with a function (or an application of its own sub-commands) of that name. The
# order is the order of `handrail --help`.
COMMANDS = (
    "demo",
    "investigate",
    "check",
    "conformance",
    "run",
    "worker",
    "up",
    "serve",
    "traces",
    "forward",
    "show",
    "sweep",
    "spool",
)
_NOT_LOADED = TyperCommand("not loaded")


class _Commands(TyperGroup):
    """Imports the module of a sub-command when it is asked for: all of them together take over a second."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = dict.fromkeys(COMMANDS, _NOT_LOADED)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the sub-command of a name, `None` where there is none."""
        if self.commands.get(cmd_name) is _NOT_LOADED:
            self.commands[cmd_name] = _load(cmd_name)
        return super().get_command(ctx, cmd_name)


def _load(name: str) -> Any:
    found = getattr(importlib.import_module(f"handrail_harness.cli.{name}"), name)
    if not isinstance(found, typer.Typer):
        command = found
        found = typer.Typer(add_completion=False)
        found.command(name)(command)
    return typer.main.get_command(found)


app = typer.Typer(
    name="handrail",
    cls=_Commands,
    help="Multi-agent decision tracing over message queues: what did it do, why, and what did it touch.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="HANDRAIL_DEBUG", help="Show the traceback of an error.")
    ] = False,
) -> None:
    if debug:
        os.environ["HANDRAIL_DEBUG"] = "1"


def run() -> None:
    """Run the application.

    A `HandrailError`, a time-out, or what the operating system refuses (a full disk behind `>`, a file that may not be
    read) becomes one line on stderr and exit status 2.
    """
    if "--debug" in sys.argv[1:]:  # accepted anywhere on the line, as people type it at the end
        sys.argv[1:] = ["--debug", *(word for word in sys.argv[1:] if word != "--debug")]
    try:
        app(prog_name="handrail")
    except (HandrailError, TimeoutError) as error:
        if os.environ.get("HANDRAIL_DEBUG"):
            raise
        print_error(str(error))
        raise SystemExit(2) from None
    except OSError as error:
        if os.environ.get("HANDRAIL_DEBUG"):
            raise
        print_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        give_up_stdout()
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
