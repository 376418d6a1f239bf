"""The SQLite index's tables. Change them together with VERSION: an index of another version is built anew."""

from __future__ import annotations

VERSION = 3

# `context` holds what spans share: the resource and scope that they were exported under. A span is kept as
# its wire bytes, so that whatever a reader may ask later is still there. `record` is the raw log's sequence
# number, `record_id` what a forwarder gave it (agent.record.id): a copy with the same id is not added again.
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE context (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, resource BLOB NOT NULL, scope BLOB NOT NULL,
    resource_schema TEXT NOT NULL, scope_schema TEXT NOT NULL
);
CREATE TABLE span (
    id INTEGER PRIMARY KEY, trace_id BLOB NOT NULL, context INTEGER NOT NULL, record INTEGER NOT NULL,
    data BLOB NOT NULL, record_id TEXT
);
CREATE INDEX span_by_trace ON span (trace_id);
CREATE UNIQUE INDEX span_by_record_id ON span (record_id) WHERE record_id IS NOT NULL;
CREATE TABLE event (
    id INTEGER PRIMARY KEY, trace_id BLOB NOT NULL, context INTEGER NOT NULL, record INTEGER NOT NULL,
    data BLOB NOT NULL, record_id TEXT
);
CREATE INDEX event_by_trace ON event (trace_id);
CREATE UNIQUE INDEX event_by_record_id ON event (record_id) WHERE record_id IS NOT NULL;
CREATE TABLE run (
    run_id TEXT NOT NULL, trace_id BLOB NOT NULL, first_record INTEGER NOT NULL,
    PRIMARY KEY (run_id, trace_id)
) WITHOUT ROWID;
CREATE TABLE lineage (
    root_id TEXT NOT NULL, trace_id BLOB NOT NULL, first_record INTEGER NOT NULL,
    PRIMARY KEY (root_id, trace_id)
) WITHOUT ROWID;
CREATE TABLE trace (
    trace_id BLOB PRIMARY KEY, run_id TEXT NOT NULL, root_name TEXT NOT NULL, root_start INTEGER NOT NULL,
    start INTEGER NOT NULL, end INTEGER NOT NULL, spans INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX trace_by_start ON trace (start);
CREATE TABLE damage (
    id INTEGER PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    reason TEXT NOT NULL, next_offset INTEGER NOT NULL
);
"""
