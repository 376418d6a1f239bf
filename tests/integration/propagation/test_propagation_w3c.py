"""The 41 cases of W3C Trace Context over a real queue: raw headers in, raw headers of what the task sent out."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest
from celery import Celery

from handrail_harness.conformance import CASES, run
from handrail_harness.stack.workers import Worker

from .brokers import Broker
from .conftest import over

pytestmark = pytest.mark.integration


@over("redis", "rabbitmq")
def test_w3c_trace_context(broker: Broker, worker: Callable[..., Worker]) -> None:
    """41 of 41 cases pass, through one worker, all as messages."""
    queue = f"w3c-{secrets.token_hex(4)}"
    worker(
        "handrail_harness.conformance.service",
        [queue],
        env={
            "CELERY_BROKER_URL": broker.url,
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
        },
    )
    with Celery("w3c", broker=broker.url, set_as_current=False) as app:
        verdicts = run(app, queue, CASES)
    assert {verdict.case.name: verdict.breaches for verdict in verdicts if not verdict.passed} == {}
    assert len(verdicts) == 41
