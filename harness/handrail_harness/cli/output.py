"""How the command line speaks: one console for people, JSON for programs, one line for an error.

Results go to stdout, progress and errors to stderr. Colour follows NO_COLOR, FORCE_COLOR and the terminal
(rich).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """Write one JSON document to stdout, never coloured or wrapped."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_error(message: str) -> None:
    """Write `handrail: message` to stderr."""
    stderr.print(f"[bold red]handrail:[/] {escape(message)}")


def give_up_stdout() -> None:
    """Throw away what stdout has not taken yet: at its end the interpreter would try once more, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Give a function that says on stderr what is going on: a spinner for a person, lines in a log."""
    if not stderr.is_terminal:
        yield lambda text: stderr.print(escape(text))
        return
    with stderr.status("") as status:
        yield lambda text: status.update(escape(text))
