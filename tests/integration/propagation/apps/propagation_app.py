"""The Celery app that the propagation tests run in workers and in producers of their own."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

QUEUE = os.environ["TEST_QUEUE"]
app = Celery("propagation", broker=os.environ["TEST_BROKER"], backend=os.environ["TEST_BACKEND"])
app.conf.update(
    task_default_queue=QUEUE,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    task_protocol=int(os.environ.get("TEST_PROTOCOL", "2")),
)
app.conf.update(json.loads(os.environ.get("TEST_SETTINGS", "{}")))
if "TEST_VISIBILITY" in os.environ:
    app.conf.broker_transport_options = {
        "visibility_timeout": int(os.environ["TEST_VISIBILITY"]),
        # Look for messages to restore every second; otherwise it takes up to 100.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
if "TEST_REVOKED" in os.environ:
    from celery.worker.state import revoked

    revoked.add(os.environ["TEST_REVOKED"])

if os.environ.get("TEST_INSTRUMENT", "1") == "1":
    from handrail_propagation import instrument

    instrument(app, trust=os.environ.get("TEST_TRUST"))  # type: ignore[arg-type]


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def fan_out(depth: int, width: int) -> int:
    """Delegate to `width` tasks, `depth` levels deep."""
    if depth > 1:
        for _ in range(width):
            fan_out.delay(depth - 1, width)
    return depth


@app.task
def nest(path: list[int]) -> None:
    """Send one follow-up, whose span has to hang under this delivery."""
    if path:
        nest.delay(path[1:])


@app.task
def raises(text: str) -> None:
    raise ValueError(text)


@app.task(throws=(KeyError,))
def raises_expected() -> None:
    raise KeyError("expected")


@app.task(bind=True, max_retries=None)
def flaky(self: Task, failures: int) -> int:
    if self.request.retries < failures:
        raise self.retry(exc=RuntimeError("secret text"), countdown=0)
    return self.request.retries


@app.task(bind=True)
def forgetful(self: Task, key: str) -> dict[str, str]:
    """Clear a baggage entry, then retry once: what does the second attempt see?"""
    from opentelemetry import baggage, context

    if self.request.retries == 0:
        token = context.attach(baggage.remove_baggage(key))
        try:
            raise self.retry(countdown=0)
        finally:
            context.detach(token)
    return {name: str(value) for name, value in baggage.get_all().items()}


@app.task(bind=True)
def echo_headers(self: Task) -> dict[str, Any]:
    """Return the custom headers that arrived, as JSON can hold them."""
    return {
        key: value for key, value in (self.request.headers or {}).items() if isinstance(value, (str, dict))
    }


@app.task
def echo_baggage() -> dict[str, str]:
    from opentelemetry import baggage

    return {name: str(value) for name, value in baggage.get_all().items()}


@app.task
def hop(headers_seen: list[dict[str, str]], remaining: int) -> list[dict[str, str]]:
    """Pass on what this delivery would inject, `remaining` times."""
    from handrail_propagation import carrier

    headers: dict[str, str] = {}
    carrier.inject(headers)
    return [*headers_seen, headers]


@app.task(bind=True)
def replaced(self: Task, x: int, y: int) -> int:
    return self.replace(add.s(x, y))


@app.task
def ignores() -> None:
    raise Ignore


@app.task
def rejects() -> None:
    raise Reject("no", requeue=False)


@app.task
def sleeps(seconds: float) -> None:
    time.sleep(seconds)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def dies_once(self: Task, marker: str) -> str:
    """SIGKILL this pool child the first time, finish the second time."""
    from handrail_propagation import flush, tracer

    with tracer().start_as_current_span("step before death"):
        pass
    flush()
    if not os.path.exists(marker):
        with open(marker, "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def dies(self: Task, marker: str, times: int) -> str:
    """SIGKILL this pool child the first `times` times."""
    with open(marker, "a") as file:
        file.write("x")
    if os.path.getsize(marker) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.task(acks_late=True)
def killed_worker(marker: str) -> str:
    """Stay here the first time, for the worker to be killed; finish the second time."""
    if os.path.exists(marker):
        return "second time"
    with open(marker, "w"):
        pass
    time.sleep(60)
    return "not killed"


@app.task
def same_time(barrier: str, parties: int) -> None:
    """Wait until `parties` deliveries are inside at the same time, then do some work in a span of its own."""
    from handrail_propagation import tracer

    with tracer().start_as_current_span("inside"):
        with open(barrier, "a") as file:
            file.write("x")
        deadline = time.monotonic() + 10
        while os.path.getsize(barrier) < parties and time.monotonic() < deadline:
            time.sleep(0.01)


@app.task
def pid() -> int:
    return os.getpid()
