"""A particular made-up run, and small changes to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from handrail_harness.sources.memory import MemorySource
from handrail_harness.spans import Span
from handrail_harness.strategies.builder import RunBuilder, caused_by
from handrail_propagation import conventions as c

__all__ = ["MemorySource", "RunBuilder", "caused_by", "cleanup_run", "edited"]


def cleanup_run() -> RunBuilder:
    """A clean run of three agents: a fan-out of two hand-offs below a first one, tools of several risks."""
    run = RunBuilder()
    with run.handoff("cleaner", "free space on db-7"):
        asking = run.chat()
        for host in ("orders", "logs"):
            with run.handoff("scout", f"size {host}", links=[caused_by(asking)]):
                chat = run.chat()
                with run.tool(
                    "table_sizes", asked_by=chat, **{c.TOOL_TOUCHES: [f"postgresql://db-7/{host}"]}
                ):
                    run.add(
                        "SELECT",
                        "client",
                        {"db.system.name": "postgresql", "db.query.text": "SELECT 1 FROM t"},
                    )
        deciding = run.chat()
        with run.tool(
            "drop_table",
            "destructive",
            asked_by=deciding,
            **{c.TOOL_TOUCHES: ["postgresql://db-7/logs/old"], c.TOOL_CREDENTIAL_ID: "sha256:0123456789ab"},
        ):
            run.add(
                "DROP",
                "client",
                {
                    "db.system.name": "postgresql",
                    "db.namespace": "logs",
                    "db.query.text": "DROP TABLE old",
                    "server.address": "db-7",
                },
            )
        run.call("notify", "external", asked_by=deciding)
    return run


def edited(spans: Sequence[Span], which: Span, change: Callable[[Span], Span]) -> list[Span]:
    """Return the spans with one of them changed."""
    return [change(span) if span.span_id == which.span_id else span for span in spans]
