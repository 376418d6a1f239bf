"""Sees what this process records, through the SDK providers that are there; sets no global provider.

Spans are kept in memory in their OTLP form (the SDK's own encoder), so that rules read the same values as from
any other source, and are sent on to the stack's receiver where there is one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from handrail_harness.errors import StackError
from handrail_harness.otlp import events_of, spans_of
from handrail_harness.sources.memory import MemorySource
from handrail_harness.testing.ids import UnseededIds
from handrail_propagation import telemetry

_DESTINATIONS = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_LOGS_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
)


class Collector:
    """The spans and events of this process from `watch()` on; `tracer_provider` is one of its own for tests.

    A watched provider keeps its processors and exporters; ours is one more, which does nothing after `close()`. Only
    exporters that `instrument()` made while no variable says where to are held back meanwhile: a test would wait for
    their attempts to reach a Collector on this machine.
    With an `endpoint` (base URL of OTLP over HTTP) what was collected goes there on `flush()`, log-based events
    where it `takes_logs`; without one it stays in `memory`.
    """

    def __init__(self, endpoint: str = "", *, takes_logs: bool = True) -> None:
        self.memory = MemorySource()
        self._endpoint = endpoint.rstrip("/")
        self._takes_logs = takes_logs
        self._waiting: list[tuple[str, bytes]] = []
        self.tracer_provider = TracerProvider(
            resource=Resource.create({"service.name": "tests"}), id_generator=UnseededIds()
        )
        self.logger_provider = LoggerProvider(resource=self.tracer_provider.resource)
        self._spans = _Spans(self._take_span)
        self._logs = _Logs(self._take_log)
        self._watched: list[Any] = []
        self._held_back: list[tuple[Any, Any]] = []
        self._lock = threading.Lock()
        self._closed = self._alone = self._lent = False
        self._add(self.tracer_provider, self._spans)
        self._add(self.logger_provider, self._logs)

    def watch(self) -> None:
        """Look at the SDK providers that are there now: the global ones and those of `instrument()`."""
        if self._alone:
            return
        current = telemetry.current()
        if current is not None and not any(name in os.environ for name in _DESTINATIONS):
            self._hold_back(current.exporting)
        traces = [trace.get_tracer_provider(), current.tracer_provider if current else None]
        for provider in traces:
            if isinstance(provider, TracerProvider):
                self._add(provider, self._spans)
        if current is not None and isinstance(current.logger_provider, LoggerProvider):
            self._add(current.logger_provider, self._logs)

    def watch_nothing(self) -> None:
        """Leave the application's providers alone: it exports its spans itself."""
        self._alone = True

    def lend(self) -> None:
        """Let an application that is instrumented from now on record to our own providers, not to global ones."""
        if telemetry.current() is None and not _has_global_provider():
            telemetry.setup(tracer_provider=self.tracer_provider, logger_provider=self.logger_provider)
            self._lent = True

    @property
    def watches_application(self) -> bool:
        """Whether a provider besides our own is watched."""
        return self._lent or any(
            one not in (self.tracer_provider, self.logger_provider) for one in self._watched
        )

    def flush(self) -> None:
        """Send what has been collected to the endpoint; raises `StackError` when it is not taken."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        import httpx

        try:
            # Never through a proxy: it is this machine's stack.
            with httpx.Client(base_url=self._endpoint, trust_env=False, timeout=10) as client:
                for path, body in waiting:
                    answer = client.post(
                        path, content=body, headers={"Content-Type": "application/x-protobuf"}
                    )
                    answer.raise_for_status()
        except httpx.HTTPError as error:
            raise StackError(
                f"the spans of this process were not taken by {self._endpoint}: {error}"
            ) from error

    def close(self) -> None:
        """Take nothing more; our own providers are shut down, others are left as they were."""
        self._closed = True
        now = telemetry.current()
        if self._lent and now is not None and now.tracer_provider is self.tracer_provider:
            telemetry.uninstrument()  # what it was lent to would record to a provider that is shut down
        self.tracer_provider.shutdown()
        self.logger_provider.shutdown()
        for provider in self._watched:
            _take_out(provider, (self._spans, self._logs))
        self._watched.clear()
        for provider, processor in self._held_back:
            _put_in(provider, processor)
        self._held_back.clear()

    def _add(self, provider: Any, processor: Any) -> None:
        with self._lock:
            if any(provider is one for one in self._watched):
                return
            _put_in(provider, processor)
            self._watched.append(provider)

    def _hold_back(self, exporting: Sequence[tuple[Any, Any]]) -> None:
        with self._lock:
            for provider, processor in exporting:
                if not any(processor is held for _, held in self._held_back):
                    _take_out(provider, (processor,))
                    self._held_back.append((provider, processor))

    def _take_span(self, span: ReadableSpan) -> None:
        if self._closed:
            return
        request = encode_spans([span])
        if self._endpoint:
            self._keep("/v1/traces", request.SerializeToString())
        else:
            self.memory.add(spans=spans_of(request))

    def _take_log(self, record: ReadableLogRecord) -> None:
        if self._closed:
            return
        request = encode_logs([record])
        if not self._endpoint:
            self.memory.add(events=events_of(request))
        elif self._takes_logs:
            self._keep("/v1/logs", request.SerializeToString())

    def _keep(self, path: str, body: bytes) -> None:
        with self._lock:
            self._waiting.append((path, body))


class _Spans(SpanProcessor):
    def __init__(self, take: Callable[[ReadableSpan], None]) -> None:
        self._take = take

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is not None and context.trace_flags.sampled:
            self._take(span)


class _Logs(LogRecordProcessor):
    def __init__(self, take: Callable[[ReadableLogRecord], None]) -> None:
        self._take = take

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        self._take(
            ReadableLogRecord(
                log_record=log_record.log_record,
                resource=log_record.resource or Resource({}),
                instrumentation_scope=log_record.instrumentation_scope,
                limits=log_record.limits,
            )
        )

    def shutdown(self) -> None:
        return None

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def _has_global_provider() -> bool:
    return isinstance(trace.get_tracer_provider(), TracerProvider)


def _put_in(provider: Any, processor: Any) -> None:
    add = getattr(provider, "add_span_processor", None) or provider.add_log_record_processor
    add(processor)


def _take_out(provider: Any, ours: tuple[object, ...]) -> None:
    """Remove processors from a provider; the SDK has no call for it."""
    for holder in ("_active_span_processor", "_multi_log_record_processor"):
        multi = getattr(provider, holder, None)
        for name in ("_span_processors", "_log_record_processors"):
            present = getattr(multi, name, None)
            if isinstance(present, tuple):
                setattr(multi, name, tuple(one for one in present if one not in ours))
