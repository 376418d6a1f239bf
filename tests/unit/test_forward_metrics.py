"""Metrics carry the account of a spool, from the one process that forwards it."""

from __future__ import annotations

import time
from pathlib import Path

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from handrail_propagation import conventions as names
from handrail_propagation.forward.metrics import observe
from handrail_propagation.spool.accounting import account
from handrail_propagation.spool.ledger import Entry, Ledger
from handrail_propagation.spool.reader import Cursor
from handrail_propagation.spool.record import Kind
from handrail_propagation.spool.writer import Writer


def test_metrics_are_the_account(tmp_path: Path) -> None:
    """Pending, delivered, quarantined, dropped, size and the oldest record's age are what the account says."""
    writer = Writer(tmp_path, b"")
    made = time.time_ns() - 90 * 10**9
    for _ in range(5):
        writer.append(Kind.LOG, LogRecord(observed_time_unix_nano=made).SerializeToString())
    writer.drop()
    writer.append(Kind.LOG, b"")
    ledger = Ledger("there", {writer.id: Entry(Cursor(1, 36, 1))})
    ledger.finished.delivered = 100
    ledger.finished.quarantined = 3
    ledger.save(tmp_path)
    elected = [False]
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    observe(provider, tmp_path, lambda: elected[0])
    assert reader.get_metrics_data() is None
    elected[0] = True
    data = reader.get_metrics_data()
    assert data is not None
    found: dict[str, float] = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        (point,) = metric.data.data_points
        assert isinstance(point, NumberDataPoint)
        found[metric.name] = point.value
    assert found.pop(names.METRIC_SPOOL_OLDEST) >= 90
    total = account(tmp_path).total
    assert found == {
        names.METRIC_SPOOL_PENDING: 6,
        names.METRIC_SPOOL_DELIVERED: 101,
        names.METRIC_SPOOL_QUARANTINED: 3,
        names.METRIC_SPOOL_DROPPED: 1,
        names.METRIC_SPOOL_SIZE: account(tmp_path).bytes,
    }
    assert (total.pending, total.delivered, total.quarantined) == (6, 101, 3)
    provider.shutdown()
    writer.close()


def test_each_destination_has_its_line(tmp_path: Path) -> None:
    """The account says of each destination how far it is, and which records it has no place for."""
    writer = Writer(tmp_path, b"")
    for _ in range(9):
        writer.append(Kind.LOG, b"")
    ahead = Ledger("ahead", {writer.id: Entry(Cursor(1, 36 * 10, 10), quarantined=2)}, declined=4)
    behind = Ledger("behind", {writer.id: Entry(Cursor(1, 36 * 4, 4))})
    for ledger in (ahead, behind):
        ledger.save(tmp_path)
    lines = {line.name: line for line in account(tmp_path).by_destination}
    assert (lines["ahead"].delivered, lines["ahead"].pending, lines["ahead"].quarantined) == (8, 0, 2)
    assert lines["ahead"].declined == 4
    assert (lines["behind"].delivered, lines["behind"].pending) == (4, 6)
    writer.close()
