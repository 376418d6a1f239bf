"""A Celery app with the stock instrumentation alone, set up as its documentation says."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


@worker_process_init.connect(weak=False)
def init_celery_tracing(**_: Any) -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


app = Celery("stock", broker="redis://127.0.0.1:1/0")
app.conf.task_default_queue = os.environ["TEST_QUEUE"]


@app.task(name="shop.ask", ignore_result=True)
def ask() -> None:
    """Ask a model, and do not say which."""
    with trace.get_tracer("shop").start_as_current_span(
        "chat", kind=trace.SpanKind.CLIENT, attributes={"gen_ai.operation.name": "chat"}
    ):
        pass
