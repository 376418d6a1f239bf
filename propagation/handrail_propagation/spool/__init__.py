"""Record before act: span starts, span ends and decision records in local files, before anything else happens.

No thread, no network and no Celery in here. The format is described in docs/adr/0006-spool-format.md.
"""

from __future__ import annotations

from opentelemetry.trace import Span

from handrail_propagation.spool.writer import NotRecorded

__all__ = ["NotRecorded", "before_act"]


def before_act(span: Span) -> None:
    """Return when the start of `span` and its decision record are on disk; call it before any effect above `read`.

    Raises `NotRecorded` when they are not, for whatever reason: then the effect must not happen. Does nothing
    while `HANDRAIL_SPOOL_DIR` is not set.
    """
    from handrail_propagation import telemetry

    now = telemetry.current()
    if now is None or now.recorder is None:
        return
    try:
        now.recorder.before_act(span)
    except NotRecorded:
        raise
    except Exception as error:
        raise NotRecorded(
            f"the spool failed with {type(error).__name__}, so the call is not made."
        ) from error
