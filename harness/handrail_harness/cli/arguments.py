"""Arguments that several sub-commands share: which source, which trace, which spool, where to listen."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from handrail_harness.receiver.settings import GRPC_PORT
from handrail_harness.store.location import DATA_DIR_VARIABLE
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


HTTPPort = Annotated[int, typer.Option(min=0, max=65535, help="Port for OTLP over HTTP; 0 takes free ports.")]
GRPCPort = Annotated[
    int | None,
    typer.Option(
        min=0, max=65535, help=f"Port for OTLP over gRPC; {GRPC_PORT} when left out, or a free one."
    ),
]
DataFolder = Annotated[
    Path | None, typer.Option(envvar=DATA_DIR_VARIABLE, help="Where to keep what arrives.")
]


def grpc_port(given: int | None, port: int) -> int:
    """Return the port that is given, else the usual one; a free one where the port for HTTP is a free one, too."""
    if given is not None:
        return given
    return 0 if port == 0 else GRPC_PORT
