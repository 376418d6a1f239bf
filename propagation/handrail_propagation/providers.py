"""Finds the providers that the application has set, and makes the missing ones from `OTEL_*` variables."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider as SdkLoggerProvider
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

from handrail_propagation.config import Config
from handrail_propagation.errors import ConfigurationError
from handrail_propagation.exporters import log_exporter, metric_exporter, span_exporter
from handrail_propagation.forward.here import Forwarding
from handrail_propagation.forward.metrics import observe
from handrail_propagation.processor import RunIdProcessor
from handrail_propagation.spool.gated import RecordGated
from handrail_propagation.spool.process import Spool
from handrail_propagation.spool.processor import Recorder, SpoolLogRecordProcessor, SpoolSpanProcessor
from handrail_propagation.telemetry import Telemetry

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

_log = logging.getLogger(__name__)


def build(
    config: Config,
    *,
    tracer_provider: TracerProvider | None,
    logger_provider: LoggerProvider | None,
    meter_provider: MeterProvider | None,
    service_name: str,
) -> Telemetry:
    """Return telemetry on the given providers, else the global ones, else new ones that become global."""
    resource = _resource(config, service_name)
    traces = tracer_provider or _found(trace.get_tracer_provider(), "ProxyTracerProvider")
    exporting: list[tuple[Any, Any]] = []
    if traces is None:
        traces = SdkTracerProvider(resource=resource)
        for processor in _span_processors(config):
            traces.add_span_processor(processor)
            exporting.append((traces, processor))
        trace.set_tracer_provider(traces)
    logs = logger_provider or _found(_logs.get_logger_provider(), "ProxyLoggerProvider")
    if logs is None:
        logs = SdkLoggerProvider(resource=resource)
        for log_processor in _log_processors(config):
            logs.add_log_record_processor(log_processor)
            exporting.append((logs, log_processor))
        _logs.set_logger_provider(logs)
    meters = meter_provider or _found(metrics.get_meter_provider(), "_ProxyMeterProvider")
    if meters is None:
        meters = meter_provider_of(config, resource)
        if config.metrics_exporter:
            metrics.set_meter_provider(meters)
    _stamp_run_ids(traces)
    recorder, forwarding = _record(config, traces, logs) if config.spool_dir else (None, None)
    if recorder is not None and forwarding is not None and not isinstance(meters, metrics.NoOpMeterProvider):
        observe(meters, recorder.spool.folder, lambda: forwarding.is_elected)
    return Telemetry(
        tracer_provider=traces,
        logger_provider=logs,
        meter_provider=meters,
        config=config,
        recorder=recorder,
        forwarding=forwarding,
        exporting=exporting,
    )


def _found(provider: Any, placeholder: str) -> Any:
    """Return the global provider, or `None` while it is the API's placeholder."""
    return None if type(provider).__name__ == placeholder else provider


def _resource(config: Config, service_name: str) -> Resource:
    named = config.service_name or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    # Resource.create() lets its argument win over the environment, so it is passed only where that is silent.
    return Resource.create({} if named or not service_name else {"service.name": service_name})


def _span_processors(config: Config) -> Iterator[SpanProcessor]:
    for name in () if config.disabled else config.traces_exporter:
        if name == "console":
            yield SimpleSpanProcessor(ConsoleSpanExporter())
        elif not config.spool_dir:  # what is in the spool is forwarded from there
            yield BatchSpanProcessor(span_exporter(name, config.traces_protocol))


def _log_processors(config: Config) -> Iterator[LogRecordProcessor]:
    for name in () if config.disabled or config.spool_dir else config.logs_exporter:
        yield BatchLogRecordProcessor(log_exporter(name, config.logs_protocol))


def meter_provider_of(config: Config, resource: Resource) -> MeterProvider:
    """Return a meter provider for the exporters that are asked for; one that does nothing for none."""
    if config.disabled or not config.metrics_exporter:
        return metrics.NoOpMeterProvider()
    readers = [
        PeriodicExportingMetricReader(metric_exporter(name, config.metrics_protocol))
        for name in config.metrics_exporter
    ]
    return SdkMeterProvider(resource=resource, metric_readers=readers)


def _record(
    config: Config, traces: TracerProvider, logs: LoggerProvider
) -> tuple[Recorder, Forwarding | None]:
    """Add the spool's processors to the providers, and keep samplers from deciding against what must be recorded."""
    if config.disabled:
        raise ConfigurationError(
            "OTEL_SDK_DISABLED=true leaves nothing to put into HANDRAIL_SPOOL_DIR: unset one."
        )
    if not isinstance(traces, SdkTracerProvider) or not isinstance(logs, SdkLoggerProvider):
        raise ConfigurationError(
            "HANDRAIL_SPOOL_DIR needs the SDK's tracer and logger providers, not "
            f"{type(traces).__name__} and {type(logs).__name__}."
        )
    recorder = Recorder(Spool(Path(config.spool_dir), max_size=config.spool_max_size))
    forwarding = Forwarding.of(recorder.spool, config)
    traces.sampler = RecordGated(traces.sampler)
    traces.add_span_processor(SpoolSpanProcessor(recorder, forwarding))
    logs.add_log_record_processor(SpoolLogRecordProcessor(recorder))
    return recorder, forwarding


def _stamp_run_ids(provider: TracerProvider) -> None:
    """Add our span processor to an SDK provider, once; somebody else's kind of provider is left as it is."""
    if not isinstance(provider, SdkTracerProvider):
        _log.warning(
            "the tracer provider is a %s, not the SDK's: other libraries' spans will not carry agent.run.id",
            type(provider).__name__,
        )
        return
    present = getattr(provider._active_span_processor, "_span_processors", ())
    if not any(isinstance(processor, RunIdProcessor) for processor in present):
        provider.add_span_processor(RunIdProcessor())
