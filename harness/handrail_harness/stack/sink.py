"""An OTLP/HTTP receiver that keeps what it gets in memory: for tests and measurements, nothing is stored."""

from __future__ import annotations

import gzip
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_harness.otlp import events_of, parse_protobuf, spans_of
from handrail_harness.spans import LogEvent, Span


@dataclass(frozen=True, slots=True)
class Answer:
    """What an exporter gets to see of a request that was received."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    """Nothing is an Export…Response without partial success."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An exporter that was killed, or gave up waiting, is nothing to report."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Collected:
    """The spans and events of the export requests that were taken, however they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[Span] = []
        self._events: list[LogEvent] = []

    @property
    def spans(self) -> list[Span]:
        """Every span received so far, in order of arrival."""
        with self._lock:
            return list(self._spans)

    @property
    def events(self) -> list[LogEvent]:
        """Every log-based event received so far."""
        with self._lock:
            return list(self._events)

    def wait_for(self, enough: Callable[[list[Span]], bool], *, timeout: float = 20.0) -> list[Span]:
        """Return the spans once `enough(spans)` is true, or those that had come after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not enough(spans := self.spans) and time.monotonic() < deadline:
            time.sleep(0.02)
        return spans

    def take(self, path: str, body: bytes) -> None:
        """Keep what is in a request."""
        if path.endswith("/v1/traces"):
            spans = list(spans_of(parse_protobuf(body, ExportTraceServiceRequest)))
            with self._lock:
                self._spans += spans
        elif path.endswith("/v1/logs"):
            events = list(events_of(parse_protobuf(body, ExportLogsServiceRequest)))
            with self._lock:
                self._events += events


class SpanSink(Collected):
    """Collects what comes over HTTP; a context manager. `endpoint` goes into OTEL_EXPORTER_OTLP_ENDPOINT."""

    def __init__(self) -> None:
        super().__init__()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                answer = sink.answer(self.path, body)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def endpoint(self) -> str:
        """Base URL without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, path: str, body: bytes) -> Answer | None:
        """Take a request; return what to answer, `None` to hang up without a word."""
        self.take(path, body)
        return Answer()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
