"""Where spans are read from: the embedded store, Jaeger, OTLP files. One interface, the same answer on
each (D13).
"""

from __future__ import annotations

from handrail_harness.errors import SourceError
from handrail_harness.sources.base import Source

__all__ = ["Source", "open_source"]


def open_source(name: str) -> Source:
    """Open the source that a person names `store`, `jaeger:URL` or `file:PATH`.

    Raises `SourceError` for any other name, and where the source cannot be reached or read.
    """
    kind, _, place = name.partition(":")
    if kind == "store" and not place:
        from handrail_harness.sources.store import StoreSource

        return StoreSource.open()
    if kind == "jaeger" and place:
        from handrail_harness.sources.jaeger import JaegerSource

        return JaegerSource(place)
    if kind == "file" and place:
        from handrail_harness.sources.otlpfile import OTLPFileSource

        return OTLPFileSource(place)
    raise SourceError(
        f"no source named {name!r}; use store, file:PATH or jaeger:URL, such as jaeger:http://127.0.0.1:16686"
    )
