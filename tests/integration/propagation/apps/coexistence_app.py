"""An app that switches the stock instrumentor and ours on in the order that TEST_ORDER names."""

from __future__ import annotations

import os

from opentelemetry.instrumentation.celery import CeleryInstrumentor
from propagation_app import app

from handrail_propagation import instrument
from handrail_propagation.instrumentor import HandrailCeleryInstrumentor


@app.task(name="propagation_app.twice")
def twice(times: int) -> None:
    for _ in range(times):
        app.send_task("propagation_app.add", (1, 2))


match os.environ["TEST_ORDER"]:
    case "stock-first":
        CeleryInstrumentor().instrument()
        instrument(app)
    case "ours-first":
        instrument(app)
        CeleryInstrumentor().instrument()
    case "ours-twice":
        HandrailCeleryInstrumentor().instrument()
        instrument(app)
        instrument(app)
    case "late":
        CeleryInstrumentor().instrument()
        app.finalize()
        assert app.amqp.send_task_message
        instrument(app)
