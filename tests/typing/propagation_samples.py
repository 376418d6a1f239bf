"""How users add propagation to an app of their own, for the type checkers."""

from __future__ import annotations

from typing import assert_type

from celery import Celery
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

import handrail_propagation as propagation
from handrail_propagation import (
    ConfigurationError,
    HandrailError,
    Telemetry,
    current_run_id,
    emit_event,
    flush,
    instrument,
    redact,
    run_context,
    tracer,
    uninstrument,
)

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

try:
    propagation.instrument()
except ConfigurationError as error:
    problem: HandrailError = error

uninstrument(app)
