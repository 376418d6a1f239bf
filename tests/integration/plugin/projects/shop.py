"""A Celery project without agents, instrumented by `SHOP_INSTRUMENTATION`.

That is ours, stock-in-workers, stock-at-fork, or anything else for nothing.
"""

from __future__ import annotations

import os

from celery import Celery, shared_task

app = Celery("shop", broker="redis://localhost:1/0")
app.conf.result_backend = "redis://localhost:1/0"
app.conf.task_routes = {"shop.receipt": {"queue": "receipts"}, "elsewhere.work": {"queue": "elsewhere"}}
HOW = os.environ.get("SHOP_INSTRUMENTATION", "ours")

if HOW == "ours":
    from handrail_propagation import instrument

    instrument(app)
elif HOW == "stock-in-workers":
    # As its documentation says.
    from typing import Any

    from celery.signals import worker_process_init

    @worker_process_init.connect(weak=False)
    def trace_child(**_: Any) -> None:
        """Export every span of a pool child as it ends."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.celery import CeleryInstrumentor
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor

        tracer_provider = TracerProvider()
        tracer_provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
        CeleryInstrumentor().instrument(tracer_provider=tracer_provider)
elif HOW == "stock-at-fork":
    # As it must not be done: the exporter's thread starts before the pool forks, and nothing starts it again.
    import queue
    import threading

    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

    class ExportingThread(SpanProcessor):
        """Hands spans to a thread that exports them."""

        def __init__(self) -> None:
            self.spans: queue.Queue[ReadableSpan] = queue.Queue()
            self.exporter = OTLPSpanExporter()
            threading.Thread(target=self.work, daemon=True).start()

        def on_end(self, span: ReadableSpan) -> None:
            self.spans.put(span)

        def work(self) -> None:
            while True:
                self.exporter.export([self.spans.get()])

    provider = TracerProvider()
    if os.environ.get("HANDRAIL_SESSION"):  # in workers only; the test process keeps its spans
        provider.add_span_processor(ExportingThread())
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


@app.task(name="shop.charge")
def charge(amount: int) -> int:
    """Charge, and hand the receipt on."""
    receipt.delay(amount)
    return amount


@app.task(name="shop.receipt")
def receipt(amount: int) -> str:
    """Write a receipt."""
    return f"paid {amount}"


@shared_task(name="shop.unused")
def unused() -> None:
    """Belongs to whichever app is there."""
