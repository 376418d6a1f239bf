"""How users add propagation to an app of their own, for the type checkers."""

from __future__ import annotations

from typing import Any, assert_type

from celery import Celery
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, Tracer
from redis import Redis

import handrail_propagation as propagation
from handrail_propagation import (
    ConfigurationError,
    HandrailError,
    Telemetry,
    carrier,
    current_run_id,
    emit_event,
    fan_out,
    flush,
    instrument,
    redact,
    run_context,
    tracer,
    uninstrument,
)
from handrail_propagation.integrations import kombu, redis_streams

app = Celery("shop", broker="redis://localhost/0")
assert_type(instrument(app), Telemetry)
telemetry = instrument(app, tracer_provider=TracerProvider(), service_name="shop")
assert_type(telemetry.flush(timeout=1.0), bool)
assert_type(tracer(), Tracer)
assert_type(redact("a text with a secret", 100), str)
assert_type(flush(), bool)

with run_context("0af7651916cd43dd8448eb211c80319c"):
    run_id = current_run_id()
    emit_event("shop.checkout", {"shop.items": 3})

with fan_out(app) as nothing:
    assert_type(nothing, None)
    app.send_task("shop.checkout")

try:
    propagation.instrument()
except ConfigurationError as error:
    problem: HandrailError = error

uninstrument(app)

# Beyond Celery
headers: dict[str, str] = {}
with carrier.send_span("orders", headers, system="kafka", message_id="17") as sending:
    assert_type(sending, Span)
with carrier.process_span("orders", headers, system="kafka", attempt=2, sent_at=1.0, client_id="c-1") as work:
    assert_type(work, Span)
carrier.inject(headers)
assert_type(carrier.extract(headers, trust="restart"), carrier.Received)

assert_type(redis_streams.add(Redis(), "orders", {"order": 17}, maxlen=1000), str)
for delivery in redis_streams.Consumer(Redis(), "orders", "shipping", "ship-1", trust="drop").read(block=1.5):
    with delivery.process() as process:
        assert_type(process, Span)
        number: int = delivery.attempt


def handle(body: Any, message: Any) -> None: ...


callbacks = [kombu.traced(handle, acknowledge=True)]
