"""The Celery app that the propagation tests run in workers and in producers of their own."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

from celery import Celery, Task, signals
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

if "TEST_BEAT" in os.environ:
    app.conf.beat_schedule = {"often": {"task": "propagation_app.pid", "schedule": 0.5}}

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


def seen(task: Task) -> dict[str, Any]:
    """Headers that arrived beside Celery's own, and the baggage that they hold."""
    from opentelemetry import baggage

    headers = {key: value for key, value in (task.request.headers or {}).items() if key in OURS}
    return {"headers": headers, "baggage": {name: str(value) for name, value in baggage.get_all().items()}}


OURS = ("traceparent", "tracestate", "baggage", "handrail_message")


@app.task(bind=True)
def relay(self: Task, hops: int, last: str) -> Any:
    """Pass a message on `hops` times; the last one has the id `last` and returns what arrived with it."""
    if hops == 0:
        return seen(self)
    return relay.apply_async((hops - 1, last), task_id=last if hops == 1 else None).id


@app.task(bind=True, max_retries=None)
def stubborn(self: Task, failures: int) -> dict[str, Any]:
    """Fail so often; return what arrived with the last attempt."""
    if self.request.retries < failures:
        raise self.retry(exc=RuntimeError("again"), countdown=0)
    return seen(self)


@app.task(bind=True)
def forgets(self: Task, key: str, *, replace: bool = False) -> Any:
    """Clear a baggage entry for what follows: the replacement of this task, or the next step of its chain."""
    from opentelemetry import baggage, context

    context.attach(baggage.remove_baggage(key))
    return self.replace(remembers.si()) if replace else key


@app.task(bind=True)
def remembers(self: Task) -> dict[str, Any]:
    return seen(self)


@app.task(bind=True)
def replaced(self: Task, x: int, y: int) -> int:
    return self.replace(add.s(x, y))


@app.task
def ignores() -> None:
    raise Ignore


@app.task(bind=True)
def fails_afterwards(self: Task) -> None:
    """Leave behind what Celery cannot call back: it fails around the task, which is done."""
    self.request.callbacks = [17]


@app.task
def rejects() -> None:
    raise Reject("no", requeue=False)


@app.task
def sleeps(seconds: float, marker: str = "") -> None:
    if marker:
        with open(marker, "w"):
            pass
    time.sleep(seconds)


@app.task(acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def mortal(where: str, folder: str, together: int) -> None:
    """Die the first time, at prerun, inside or at postrun: this child, or, when `together` have come, the worker."""
    from handrail_propagation import tracer

    with tracer().start_as_current_span(f"step {where}"):
        pass
    die(where, "inside", folder, together)


@signals.task_prerun.connect(sender=mortal)
def before_mortal(args: tuple[str, str, int], **_: Any) -> None:
    die(args[0], "prerun", *args[1:])


@signals.task_postrun.connect(sender=mortal)
def after_mortal(args: tuple[str, str, int], **_: Any) -> None:
    die(args[0], "postrun", *args[1:])


def die(where: str, here: str, folder: str, together: int) -> None:
    from handrail_propagation import flush

    marker = os.path.join(folder, where)
    if where != here or os.path.exists(marker):
        return
    flush()
    with open(marker, "w"):
        pass
    if together:
        while len(os.listdir(folder)) < together:
            time.sleep(0.01)
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def dies(self: Task, marker: str, times: int) -> str:
    """SIGKILL this pool child the first `times` times."""
    with open(marker, "a") as file:
        file.write("x")
    if os.path.getsize(marker) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.task
def leaves(how: str) -> None:
    """End this pool child in the middle of the task."""
    if how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(3)


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
        deadline = time.monotonic() + 60
        while os.path.getsize(barrier) < parties and time.monotonic() < deadline:
            time.sleep(0.01)


@app.task
def hands_out(redis_url: str, stream: str, plain_queue: str) -> None:
    """Go on where there is no Celery: an entry of a stream, and a message that nobody calls a task there."""
    import redis

    from handrail_propagation.integrations import redis_streams

    with redis.Redis.from_url(redis_url) as client:
        redis_streams.add(client, stream, {"order": 17})
    app.send_task("not.a.task", (17,), queue=plain_queue)


@app.task
def pid() -> int:
    return os.getpid()
