"""Exporters that survive a fork: each process builds its own, the first time it exports something.

A pool child must not write to a socket that it inherited: parent and child would mix their requests on one
connection. Nothing in here knows about Celery.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from handrail_propagation.errors import ConfigurationError

_log = logging.getLogger(__name__)


class _PerProcess:
    """Builds what it wraps once in each process, when it is first needed there."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._pid = 0
        self._exporter: Any = None

    def _here(self) -> Any:
        pid = os.getpid()
        if self._pid != pid:
            self._exporter = self._make()
            self._pid = pid
        return self._exporter

    def shutdown(self) -> None:
        """Shut down this process's exporter, if it has one."""
        if self._exporter is not None and self._pid == os.getpid():
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is buffered here."""
        return True


class PerProcessSpanExporter(_PerProcess, SpanExporter):
    """A span exporter of each process's own."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export with this process's exporter."""
        result: SpanExportResult = self._here().export(spans)
        return result


class PerProcessLogExporter(_PerProcess, LogRecordExporter):
    """A log exporter of each process's own, which stops asking a destination that keeps no logs."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__(make)
        self._refused = False

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Export with this process's exporter, unless the destination has turned out to take no logs."""
        if self._refused:
            return LogRecordExportResult.FAILURE
        exporter = self._here()
        with _NoLogsThere(exporter) as answer:
            result: LogRecordExportResult = exporter.export(batch)
        if answer.refused:
            self._refused = True
            _log.warning(
                "the destination at %s takes no logs (HTTP %s): events stay on their spans only; "
                "set OTEL_LOGS_EXPORTER=none or OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
                getattr(exporter, "_endpoint", "?"),
                answer.status,
            )
        return result


class _NoLogsThere(logging.Filter):
    """Reads the exporter's own error line: a 404 or 501 is "no such signal here" (Jaeger), not an outage."""

    def __init__(self, exporter: Any) -> None:
        super().__init__()
        modules = [made.__module__ for made in type(exporter).__mro__]
        logs = [name for name in modules if name.startswith("opentelemetry.exporter")]
        self._logger = logging.getLogger(logs[0] if logs else modules[0])
        self.status = 0

    @property
    def refused(self) -> bool:
        return self.status in (404, 405, 501)

    def filter(self, record: logging.LogRecord) -> bool:
        for value in record.args if isinstance(record.args, tuple) else ():
            if value in (404, 405, 501):
                self.status = int(value)
                return False
        return True

    def __enter__(self) -> _NoLogsThere:
        self._logger.addFilter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeFilter(self)


def span_exporter(name: str, protocol: str) -> SpanExporter:
    """Return the exporter of that name, not yet connected; raises `ConfigurationError` for an unknown one."""
    return PerProcessSpanExporter(_factory("traces", name, protocol))


def log_exporter(name: str, protocol: str) -> LogRecordExporter:
    """Return the log exporter of that name, not yet connected; raises `ConfigurationError`."""
    return PerProcessLogExporter(_factory("logs", name, protocol))


def metric_exporter(name: str, protocol: str) -> MetricExporter:
    """Return the metric exporter of that name; raises `ConfigurationError` for an unknown one."""
    exporter: MetricExporter = _factory("metrics", name, protocol)()
    return exporter


def _factory(signal: str, name: str, protocol: str) -> Callable[[], Any]:
    if name == "otlp" and signal in ("traces", "logs"):
        module = import_module(f"handrail_propagation.otlp.{'grpc' if protocol == 'grpc' else 'http'}")
        ours: Callable[[], Any] = module.OTLPSpanExporter if signal == "traces" else module.OTLPLogExporter
        return ours if protocol == "grpc" else _with_its_client(ours)
    entry = name
    if name == "otlp":
        entry = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = next(iter(entry_points(group=f"opentelemetry_{signal}_exporter", name=entry)), None)
    if found is None:
        raise ConfigurationError(
            f"OTEL_{signal.upper()}_EXPORTER={name!r}: no exporter of that name is installed. "
            "Use otlp, console or none, or install the package that brings it."
        )
    factory: Callable[[], Any] = found.load()
    return _with_its_client(factory) if entry == "otlp_proto_http" else factory


def _with_its_client(factory: Callable[[], Any]) -> Callable[[], Any]:
    """Import the HTTP client of an OTLP/HTTP exporter, which does so when it is made, and what that needs to send.

    Were that first done in the export thread, a child forked at that moment would have half an HTTP client for
    ever, and lose its spans: the lock of a module that is being imported stays locked there.
    """
    import netrc  # noqa: F401 - requests does so with its first request

    factory().shutdown()
    return factory


def drop_inherited_connections(provider: object) -> None:
    """In a forked child: close the HTTP connections of a provider's exporters that the parent opened.

    For providers that are not ours. Closing the child's copy leaves the parent's connection alone, and the
    session opens a new one when it is next used. Best effort: exporters of an unknown make are left as they
    are.
    """
    processors = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", ())
    for processor in processors:
        exporter = getattr(processor, "span_exporter", None)
        transport = getattr(getattr(exporter, "_client", None), "_transport", None)
        session = getattr(transport, "_session", None) or getattr(exporter, "_session", None)
        if session is not None and hasattr(session, "close"):
            with contextlib.suppress(Exception):
                session.close()
