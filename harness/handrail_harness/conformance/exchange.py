"""Puts cases through a real queue and a real worker: raw headers in, raw headers of what the task sent out.

Both ends here are plain kombu, so that nothing but the worker touches the headers. The worker needs the task
`REFLECT` (see `tasks`); any broker that Celery speaks to will do.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from celery import Celery
from kombu import Connection

from handrail_harness.conformance.case import Case, Verdict
from handrail_harness.conformance.tasks import REFLECT

_Sent = dict[str, list[dict[str, Any]]]


def run(app: Celery, queue: str, cases: Iterable[Case], *, timeout: float = 30.0) -> list[Verdict]:
    """Send every case to the worker behind `queue`, and judge the messages that its tasks send.

    `app` gives the broker. What has not come within `timeout` seconds is a breach: it says that nothing came.
    """
    cases = list(cases)
    probes = {f"{case.name}/{number}": probe for case in cases for number, probe in enumerate(case.probes)}
    answers = f"handrail-conformance-{secrets.token_hex(6)}"
    with app.connection_for_write() as connection:
        for key, probe in probes.items():
            publish(app, connection, queue, REFLECT, (key, probe.sends, answers), headers=probe.carried())
        sent = _collect(app, connection, answers, sum(probe.sends for probe in probes.values()), timeout)
    return [Verdict(case, tuple(_breaches(case, sent))) for case in cases]


def _breaches(case: Case, sent: _Sent) -> Iterable[str]:
    for number, probe in enumerate(case.probes):
        for breach in probe.breaches(sent.get(f"{case.name}/{number}", [])):
            yield f"{dict(probe.carried())}: {breach}"


def publish(
    app: Celery,
    connection: Connection,
    queue: str,
    task: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, Any] | None = None,
    task_id: str = "",
) -> str:
    """Put a task's message into a queue, `headers` beside Celery's own, past every instrumentation; return its id."""
    task_id = task_id or str(uuid4())
    message = app.amqp.as_task_v2(task_id, task, tuple(args), dict(kwargs or {}), root_id=task_id)
    connection.Producer(serializer="json").publish(
        message.body,
        exchange="",
        routing_key=queue,
        declare=[app.amqp.queues[queue]],
        headers={**message.headers, **(headers or {})},
        **message.properties,
    )
    return task_id


def _collect(app: Celery, connection: Connection, answers: str, expected: int, timeout: float) -> _Sent:
    sent: _Sent = defaultdict(list)
    count = 0

    def take(body: Any, message: Any) -> None:
        nonlocal count
        sent[str(body[0][0])].append(dict(message.headers))
        count += 1
        message.ack()

    deadline = time.monotonic() + timeout
    with connection.Consumer([app.amqp.queues[answers]], callbacks=[take], accept=["json"]) as consumer:
        while count < expected and (left := deadline - time.monotonic()) > 0:
            try:
                connection.drain_events(timeout=min(left, 1.0))
            except (TimeoutError, socket.timeout):  # noqa: UP041 - not the same before Python 3.10, says kombu
                continue
        for queue in consumer.queues:
            queue.delete()
    return sent
