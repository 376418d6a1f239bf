"""A Celery app that is traced with one call."""

from __future__ import annotations

import os

from celery import Celery
from opentelemetry import trace

from handrail_propagation import instrument

app = Celery("ours", broker="redis://127.0.0.1:1/0")
app.conf.task_default_queue = os.environ["TEST_QUEUE"]
instrument(app)


@app.task(name="shop.ask", ignore_result=True)
def ask(model: str) -> None:
    """Ask a model, hand the answer on to a task on the app's own queue."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "example",
        "gen_ai.request.model": model,
    }
    with trace.get_tracer("shop").start_as_current_span(
        f"chat {model}", kind=trace.SpanKind.CLIENT, attributes=attributes
    ):
        pass
    tell.delay()


@app.task(name="shop.tell", ignore_result=True)
def tell() -> None:
    pass
