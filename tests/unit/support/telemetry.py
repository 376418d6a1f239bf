"""Telemetry of a test's own, for code that finds it by itself."""

from __future__ import annotations

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from handrail_propagation import telemetry
from handrail_propagation.config import Config
from handrail_propagation.providers import build


def record_nowhere(monkeypatch: pytest.MonkeyPatch, *processors: SpanProcessor) -> None:
    """Let spans be recorded, shown to these processors, and exported nowhere, until the test is over."""
    provider = TracerProvider()
    for processor in processors:
        provider.add_span_processor(processor)
    now = build(
        Config(),
        tracer_provider=provider,
        logger_provider=LoggerProvider(),
        meter_provider=None,
        service_name="",
    )
    monkeypatch.setattr(telemetry, "_current", now)
