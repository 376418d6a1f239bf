"""The tasks of the propagation tests with the stock instrumentation alone; TEST_SETUP says where it is switched on.

`documented`: in `worker_process_init`, as its documentation says. `import`: when this module is imported, the one other
way that there is, for pools which never send that signal.
"""

from __future__ import annotations

import os
import time
from typing import Any
from uuid import uuid4

from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from propagation_app import app

__all__ = ["app", "calls_tools"]


@app.task(ignore_result=True)
def calls_tools(times: int, effects: str) -> None:
    """Make calls, each in a span of its own; each leaves a line with an id that its span has, too."""
    tracer = trace.get_tracer("tools")
    for _ in range(times):
        effect = uuid4().hex
        with tracer.start_as_current_span("execute_tool note", attributes={"effect": effect}):
            descriptor = os.open(effects, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(descriptor, f"{effect}\n".encode())
            os.close(descriptor)
        time.sleep(0.01)


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
