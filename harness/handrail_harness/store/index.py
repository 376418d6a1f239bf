"""The SQLite index behind the raw log. It can be deleted at any time: it is built anew from the raw log.

One connection writes (the indexer's thread); every read opens one of its own. Records and the position
behind them are one transaction, so indexing again after a crash adds nothing twice.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness.otlp import MalformedOTLP, events_of, spans_of
from handrail_harness.sizes import RunSize
from handrail_harness.spans import LogEvent, Span, TraceSummary
from handrail_harness.store import rows as wire
from handrail_harness.store.base import START, Damage, Position, Record
from handrail_harness.store.schema import TABLES, VERSION

FILE_NAME = "index.sqlite"
_NAMES_MAX = 300
"""A run with more traces and ids is not counted: an older SQLite takes 999 parameters, and each trace is three."""


class SQLiteIndex:
    """Indexed spans in one SQLite file (WAL mode). Nothing is merged, mended or de-duplicated (DESIGN D2).

    `moved_aside` is where an unusable older index went, `None` when there was none. Raises `sqlite3.Error`
    and `OSError` when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.moved_aside: Path | None = None
        try:
            self._writer = self._open_writer()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                raise  # locked, full or unreadable: another index would not help
            self._move_aside()
            self._writer = self._open_writer()
        self._contexts: dict[wire.Context, int] = {}
        self._position, self._sequence = self._load_position()

    @property
    def position(self) -> Position:
        """The place in the raw log up to which everything is in here."""
        return self._position

    @property
    def sequence(self) -> int:
        """The highest sequence number of the raw log that is in here, 0 when there is none."""
        return self._sequence

    def insert(self, items: Sequence[Record | Damage]) -> None:
        """Add records in their order and move `position` behind the last one, both or neither."""
        rows, damages, sequence = wire.Rows(known=self._is_known), list[Damage](), self._sequence
        for item in items:
            if isinstance(item, Damage):
                damages.append(item)
                continue
            try:
                rows.add(item)
            except MalformedOTLP:
                length = item.next.offset - item.at.offset
                damages.append(Damage("unreadable", item.at, length, item.next))
            sequence = max(sequence, item.sequence)
        if not items:
            return
        position = items[-1].next
        try:
            with self._writer:
                self._writer.execute("BEGIN IMMEDIATE")
                self._insert_rows(rows)
                self._insert_damages(damages)
                self._put("position", f"{position.segment} {position.offset}")
                self._put("sequence", str(sequence))
        except BaseException:
            self._contexts.clear()  # ids that were rolled back
            raise
        self._position, self._sequence = position, sequence

    def note_damage(self, damage: Damage) -> None:
        """Remember damage that was found outside `insert`, such as a tail cut off at the start."""
        with self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            self._insert_damages([damage])

    def rebuild(self) -> None:
        """Begin with an empty index; the old file is `moved_aside`. The caller indexes the raw log again."""
        self._writer.close()
        self._move_aside()
        self._writer = self._open_writer()
        self._contexts.clear()
        self._position, self._sequence = self._load_position()

    def trace_request(self, trace_id: str) -> ExportTraceServiceRequest:
        """Return the spans of one trace as one OTLP request, exactly as they were exported."""
        return wire.trace_request(self._rows("span", trace_id))

    def log_request(self, trace_id: str) -> ExportLogsServiceRequest:
        """Return the log-based events of one trace as one OTLP request."""
        return wire.log_request(self._rows("event", trace_id))

    def spans(self, trace_id: str) -> list[Span]:
        """Return the spans of one trace in the order of their arrival; empty when there are none."""
        return list(spans_of(self.trace_request(trace_id)))

    def events(self, trace_id: str) -> list[LogEvent]:
        """Return the log-based events of one trace in the order of their arrival."""
        return list(events_of(self.log_request(trace_id)))

    def traces_of_run(self, run_id: str) -> list[str]:
        """Return the ids of the traces that have a span with this `agent.run.id`, oldest first."""
        return self._traces_of("SELECT trace_id FROM run WHERE run_id = ? ORDER BY first_record", run_id)

    def traces_of_root(self, root_id: str) -> list[str]:
        """Return the ids of the traces that have a span with this `agent.message.root_id`, oldest first."""
        return self._traces_of(
            "SELECT trace_id FROM lineage WHERE root_id = ? ORDER BY first_record", root_id
        )

    def traces(self, limit: int = 20) -> list[TraceSummary]:
        """Return the latest traces, newest first."""
        with self._reader() as reader:
            found = reader.execute(
                "SELECT trace_id, run_id, root_name, start, end, spans FROM trace "
                "ORDER BY start DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [TraceSummary(trace_id.hex(), *rest) for trace_id, *rest in found]

    def size_of(
        self, trace_ids: Sequence[str], run_ids: Sequence[str], root_ids: Sequence[str]
    ) -> RunSize | None:
        """Return how much there is of a run now (see `Source.size_of`); `None` for one of very many traces."""
        if len(trace_ids) + len(run_ids) + len(root_ids) > _NAMES_MAX:
            return None
        traces, runs, roots = (", ".join("?" * len(ids)) for ids in (trace_ids, run_ids, root_ids))
        keys = [bytes.fromhex(trace_id) for trace_id in trace_ids]
        query = (
            f"SELECT (SELECT count(*) FROM (SELECT trace_id FROM trace WHERE trace_id IN ({traces}) "  # noqa: S608
            f"UNION SELECT trace_id FROM run WHERE run_id IN ({runs}) "
            f"UNION SELECT trace_id FROM lineage WHERE root_id IN ({roots}))), "
            f"(SELECT coalesce(sum(spans), 0) FROM trace WHERE trace_id IN ({traces})), "
            f"(SELECT count(*) FROM event WHERE trace_id IN ({traces}))"
        )
        with self._reader() as reader:
            found = reader.execute(query, [*keys, *run_ids, *root_ids, *keys, *keys]).fetchone()
        return RunSize(*found)

    def damages(self) -> list[Damage]:
        """Return every damaged place that was found in the raw log so far."""
        with self._reader() as reader:
            found = reader.execute(
                "SELECT reason, segment, offset, length, next_offset FROM damage ORDER BY id"
            ).fetchall()
        return [
            Damage(reason, Position(segment, offset), length, Position(segment, after))
            for reason, segment, offset, length, after in found
        ]

    def counts(self) -> dict[str, int]:
        """Return how many spans, events and traces are in here."""
        with self._reader() as reader:
            return {
                f"{table}s": reader.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
                for table in ("span", "event", "trace")
            }

    def close(self) -> None:
        """Close the writing connection; SQLite folds its write-ahead log in."""
        self._writer.close()

    def _rows(self, table: str, trace_id: str) -> list[tuple[wire.Context, bytes]]:
        try:
            key = bytes.fromhex(trace_id)
        except ValueError:
            return []
        with self._reader() as reader:
            found = reader.execute(
                "SELECT resource, scope, resource_schema, scope_schema, data "  # noqa: S608 - our own table names
                f"FROM {table} AS t JOIN context AS c ON c.id = t.context WHERE trace_id = ? ORDER BY t.id",
                (key,),
            ).fetchall()
        return [(wire.Context(*context), data) for *context, data in found]

    def _traces_of(self, query: str, key: str) -> list[str]:
        with self._reader() as reader:
            return [trace_id.hex() for (trace_id,) in reader.execute(query, (key,)).fetchall()]

    def _insert_rows(self, rows: wire.Rows) -> None:
        for table, added in (("span", rows.spans), ("event", rows.events)):
            self._writer.executemany(
                f"INSERT INTO {table} (trace_id, context, record, data, record_id) VALUES (?, ?, ?, ?, ?)",  # noqa: S608
                [
                    (row.trace_id, self._context(row.context), row.record, row.data, row.record_id)
                    for row in added
                ],
            )
        self._writer.executemany(
            "INSERT OR IGNORE INTO run (run_id, trace_id, first_record) VALUES (?, ?, ?)",
            [(*key, record) for key, record in rows.runs.items()],
        )
        self._writer.executemany(
            "INSERT OR IGNORE INTO lineage (root_id, trace_id, first_record) VALUES (?, ?, ?)",
            [(*key, record) for key, record in rows.roots.items()],
        )
        self._writer.executemany(
            "INSERT INTO trace VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (trace_id) DO UPDATE SET "
            "run_id = iif(run_id = '', excluded.run_id, run_id), "
            "root_name = iif(excluded.root_start < root_start, excluded.root_name, root_name), "
            "root_start = min(root_start, excluded.root_start), start = min(start, excluded.start), "
            "end = max(end, excluded.end), spans = spans + excluded.spans",
            [
                (trace_id, row.run_id, row.root_name, row.root_start, row.start, row.end, row.spans)
                for trace_id, row in rows.traces.items()
            ],
        )

    def _insert_damages(self, damages: Sequence[Damage]) -> None:
        self._writer.executemany(
            "INSERT INTO damage (segment, offset, length, reason, next_offset) VALUES (?, ?, ?, ?, ?)",
            [(*damage.at, damage.length, damage.reason, damage.next.offset) for damage in damages],
        )

    def _is_known(self, table: str, record_id: str) -> bool:
        found = self._writer.execute(f"SELECT 1 FROM {table} WHERE record_id = ?", (record_id,)).fetchone()  # noqa: S608
        return found is not None

    def _context(self, context: wire.Context) -> int:
        known = self._contexts.get(context)
        if known is not None:
            return known
        if len(self._contexts) > 10_000:
            self._contexts.clear()
        digest = context.digest
        self._writer.execute(
            "INSERT OR IGNORE INTO context (digest, resource, scope, resource_schema, scope_schema) "
            "VALUES (?, ?, ?, ?, ?)",
            (digest, context.resource, context.scope, context.resource_schema, context.scope_schema),
        )
        row = self._writer.execute("SELECT id FROM context WHERE digest = ?", (digest,)).fetchone()
        self._contexts[context] = row[0]
        return int(row[0])

    def _put(self, key: str, value: str) -> None:
        self._writer.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _load_position(self) -> tuple[Position, int]:
        meta = dict(self._writer.execute("SELECT key, value FROM meta").fetchall())
        if "position" not in meta:
            return START, 0
        segment, offset = meta["position"].split()
        return Position(int(segment), int(offset)), int(meta["sequence"])

    def _open_writer(self) -> sqlite3.Connection:
        # Created here, because SQLite would take the umask's mode; its -wal and -shm files copy the main
        # file's.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = self._connect()
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # Losing the last transactions in a power cut costs nothing: the position goes back with them.
            connection.execute("PRAGMA synchronous = NORMAL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if version != VERSION and tables:
                raise sqlite3.DatabaseError(f"index version {version}, not {VERSION}")
            if not tables:
                connection.executescript(
                    f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        connection = self._connect()
        try:
            connection.execute("PRAGMA query_only = ON")
            yield connection
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)

    def _move_aside(self) -> None:
        aside = self.path.with_name(f"{self.path.name}.unusable-{time.time_ns()}")
        self.path.rename(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.moved_aside = aside
