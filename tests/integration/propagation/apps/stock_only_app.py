"""The tasks of the propagation tests with the stock instrumentation alone; TEST_SETUP says where it is switched on.

`documented`: in `worker_process_init`, as its documentation says. `import`: when this module is imported, the one other
way that there is for pools which never send that signal.
"""

from __future__ import annotations

import os
from typing import Any

from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from propagation_app import app

__all__ = ["app"]


def switch_on(**_: Any) -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


match os.environ["TEST_SETUP"]:
    case "documented":
        worker_process_init.connect(switch_on, weak=False)
    case "import":
        switch_on()
