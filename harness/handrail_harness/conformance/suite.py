"""A conformance run: a stack of its own, a worker of the user's app on it, every case put through."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from celery import Celery

from handrail_harness.conformance.exchange import run as run_cases
from handrail_harness.conformance.outcome import Conformance, Outcome
from handrail_harness.conformance.probed import APP_VARIABLE, TASKS_VARIABLE
from handrail_harness.conformance.scenarios import SCENARIOS, Scenario
from handrail_harness.conformance.trees import examine
from handrail_harness.conformance.w3c import CASES
from handrail_harness.errors import StackError
from handrail_harness.loading import NotLoaded
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.workers import Worker

_NAME: Final = re.compile(r"\w+(\.\w+)*(:\w+)?")
_COMPLAINT: Final = re.compile(r"^handrail: (.+)$", re.MULTILINE)


def conform(
    name: str,
    *,
    folder: Path,
    tasks: Sequence[Scenario] = (),
    pool: str = "prefork",
    timeout: float = 20.0,
    say: Callable[[str], None] = lambda text: None,
) -> Conformance:
    """Run every case against the Celery app `module:attribute`, found from `folder`.

    `tasks` are scenarios of the app's own tasks; with some, the worker takes messages of the app's own queues,
    too. What has not come within `timeout` seconds counts as not there. Raises `NotLoaded` when the app cannot be
    used, `StackError` when stack or worker do not start.
    """
    if not _NAME.fullmatch(name):
        raise NotLoaded(f"{name!r} names no Celery app; write MODULE:APP, such as tasks:app")
    began = time.monotonic()
    queue = f"handrail-conformance-{secrets.token_hex(6)}"
    say("starting Redis and the receiver")
    with (
        EmbeddedStack() as stack,
        Celery("handrail-conformance", broker=stack.redis_url, set_as_current=False) as client,
    ):
        # These go before a CELERY_BROKER_URL that the shell has; that one goes before what the code says.
        conf: Any = client.conf
        conf.broker_read_url = conf.broker_write_url = stack.redis_url
        say(f"starting a worker of {name}")
        with _worker(name, queue, stack, folder, pool, [one.task for one in tasks]):
            try:
                say(f"{len(CASES)} cases of W3C Trace Context")
                outcomes = [
                    Outcome(
                        "w3c",
                        one.case.name,
                        one.case.holds,
                        one.breaches,
                        f"Trace Context {one.case.section}",
                    )
                    for one in run_cases(client, queue, CASES, timeout=timeout)
                ]
                say(f"{len(SCENARIOS) + len(tasks)} traces")
                source = stack.source()
                try:
                    outcomes += examine(
                        client, queue, (*SCENARIOS, *tasks), source, stack.otlp_endpoint, timeout=timeout
                    )
                finally:
                    source.close()
                say("stopping the worker")
            finally:
                with client.connection_for_write() as connection:
                    client.amqp.queues[queue](connection.default_channel).delete()
    return Conformance(name, tuple(outcomes), time.monotonic() - began)


@contextmanager
def _worker(
    name: str, queue: str, stack: EmbeddedStack, folder: Path, pool: str, tasks: Sequence[str]
) -> Iterator[None]:
    """Run a worker of the user's app; what it says is wrong with the app becomes `NotLoaded`."""
    worker = Worker(
        "handrail_harness.conformance.probed",
        [queue],
        pool=pool,
        cwd=folder,
        env=stack.environ()
        | {
            APP_VARIABLE: name,
            TASKS_VARIABLE: ",".join(tasks),
            "CELERY_BROKER_URL": stack.redis_url,
            # One that the shell has for a signal goes before the general address.
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{stack.otlp_endpoint}/v1/traces",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{stack.otlp_endpoint}/v1/logs",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
            "OTEL_SDK_DISABLED": "false",
        },
    )
    try:
        worker.start()
    except StackError as error:
        complaint = _COMPLAINT.search(worker.log())
        if complaint is not None:
            raise NotLoaded(complaint[1]) from error
        raise
    finally:
        if not worker.running:
            worker.remove_log()
    with _stopped(worker):
        yield


@contextmanager
def _stopped(worker: Worker) -> Iterator[None]:
    try:
        yield
    finally:
        worker.stop()
        worker.remove_log()
