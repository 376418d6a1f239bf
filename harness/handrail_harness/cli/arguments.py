"""Arguments that several sub-commands share: which source, which trace, which spool."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from handrail_propagation import ConfigurationError

SOURCE_HELP = (
    "Where the spans are: store, file:PATH or jaeger:URL. A trace id here means a trace in the store."
)
TRACE_HELP = "A trace id, the beginning of one, or a run id; the latest trace when left out."

_TRACE_OR_RUN = re.compile(r"[0-9A-Za-z_-]{4,64}")


def which(source: str, trace: str | None) -> tuple[str, str | None]:
    """Return source and trace; a single argument that can be no source is a trace in the store."""
    if trace is None and source != "store" and _TRACE_OR_RUN.fullmatch(source):
        return "store", source
    return source, trace


SpoolFolder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DIR]", help="The spool folder; HANDRAIL_SPOOL_DIR when left out.", show_default=False
    ),
]


def spool_folder(given: Path | None) -> Path:
    """Return the folder that is given, else that of `HANDRAIL_SPOOL_DIR`. Raises `ConfigurationError` for neither."""
    if given is None:
        if not os.environ.get("HANDRAIL_SPOOL_DIR"):
            raise ConfigurationError("which spool? Give its folder, or set HANDRAIL_SPOOL_DIR.")
        return Path(os.environ["HANDRAIL_SPOOL_DIR"])
    return given
