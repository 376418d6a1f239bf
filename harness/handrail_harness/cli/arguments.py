"""Arguments that several sub-commands share: which source, which trace."""

from __future__ import annotations

import re

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
