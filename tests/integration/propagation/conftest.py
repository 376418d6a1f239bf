"""A producer in this process, workers as subprocesses, and a sink that both export to.

Over Redis, unless a test asks for another broker with `@over("rabbitmq")` or `@over("redis", "rabbitmq")`. With
HANDRAIL_TEST_BROKER=rabbitmq every test of this folder that does not ask runs over RabbitMQ.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from handrail_harness.forest import Forest, build
from handrail_harness.spans import Span
from handrail_harness.stack.sink import SpanSink
from handrail_harness.stack.workers import Worker
from handrail_propagation import flush, instrument, uninstrument
from handrail_propagation.exporters import PerProcessSpanExporter

from ...support.closing import close_app
from .brokers import Broker, RabbitMQ, Redis

APPS = Path(__file__).parent / "apps"
PATIENCE = 60.0  # seconds until a wait gives up; a wait that succeeds takes a fraction


class Scene:
    """One test's queue, broker, sink, producer and workers."""

    def __init__(self, broker: Broker, sink: SpanSink, start: Callable[..., Worker]) -> None:
        self.broker = broker
        self.sink = sink
        self.queue = f"propagation-{secrets.token_hex(4)}"
        self.app = Celery("producer", broker=broker.url, backend=broker.backend, set_as_current=False)
        self.app.conf.update(broker.settings, task_default_queue=self.queue)
        self._start = start

    def environ(self, **more: str) -> dict[str, str]:
        """Environment of a worker or producer subprocess."""
        return {
            "TEST_QUEUE": self.queue,
            "TEST_BROKER": self.broker.url,
            "TEST_BACKEND": self.broker.backend,
            "TEST_SETTINGS": json.dumps(self.broker.settings),
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.sink.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_LOGS_EXPORTER": "none",
        } | more

    def worker(self, pool: str = "prefork", *, env: dict[str, str] | None = None, **options: Any) -> Worker:
        """Start a worker on this scene's queue."""
        return self._start(
            "propagation_app", [self.queue], pool=pool, cwd=APPS, env=self.environ(**(env or {})), **options
        )

    def send(self, task: str, *args: Any, **options: Any) -> Any:
        """Send a task of the app by name; this process never imported it."""
        return self.app.send_task(f"propagation_app.{task}", args, **options)

    def signature(self, task: str, *args: Any, **options: Any) -> Any:
        """A signature of one of the app's tasks."""
        return self.app.signature(f"propagation_app.{task}", args, queue=self.queue, **options)

    def spans(self, processed: int, timeout: float = PATIENCE) -> list[Span]:
        """All spans, once `processed` ended `process` spans have arrived (fails when fewer or more have)."""
        flush()
        spans = self.sink.wait_for(lambda spans: len(consumers(spans)) >= processed, timeout=timeout)
        assert len(consumers(spans)) == processed, [span.name for span in spans]
        return spans

    def trace(self, trace_id: str, processed: int, timeout: float = PATIENCE) -> Forest:
        """The tree of one trace, once `processed` deliveries of it have been recorded (fails when more have)."""

        def arrived(spans: list[Span]) -> list[Span]:
            return [span for span in spans if span.trace_id == trace_id]

        flush()
        spans = arrived(
            self.sink.wait_for(lambda spans: len(consumers(arrived(spans))) >= processed, timeout=timeout)
        )
        assert len(consumers(spans)) == processed, [span.name for span in spans]
        return build(spans)

    def send_raw(self, task: str, headers: dict[Any, Any], *args: Any, queue: str = "") -> str:
        """Put a message straight into a queue, these headers beside Celery's own, untraced; return its id."""
        task_id = str(uuid4())
        queue = queue or self.queue
        with self.app.connection_for_write() as connection:
            message = self.app.amqp.as_task_v2(task_id, f"propagation_app.{task}", args, {})
            connection.Producer(serializer="json").publish(
                message.body,
                exchange="",
                routing_key=queue,
                declare=[self.app.amqp.queues[queue]],
                headers={**message.headers, **headers},
                **message.properties,
            )
        return task_id

    def forest(self, processed: int) -> Forest:
        """The spans as trees, once `processed` deliveries have been recorded."""
        return build(self.spans(processed))


def consumers(spans: list[Span]) -> list[Span]:
    """The `process` spans."""
    return [span for span in spans if span.kind == "consumer"]


@pytest.fixture
def sink() -> Iterator[SpanSink]:
    """An OTLP receiver of this test's own."""
    with SpanSink() as sink:
        yield sink


def over(*kinds: str) -> pytest.MarkDecorator:
    """Run a test over each of these brokers: `redis`, `rabbitmq`."""
    return pytest.mark.parametrize("broker", kinds, indirect=True)


@pytest.fixture
def broker(request: pytest.FixtureRequest, redis_url: str) -> Broker:
    """The broker that the test asked for with `over`; results are in Redis with both."""
    kind = getattr(request, "param", os.environ.get("HANDRAIL_TEST_BROKER", "redis"))
    if kind == "rabbitmq":
        return RabbitMQ(request.getfixturevalue("rabbitmq_url"), backend=redis_url)
    assert kind == "redis", f"no broker {kind!r}; there are redis and rabbitmq"
    return Redis(redis_url, backend=redis_url)


@contextmanager
def instrumented(broker: Broker, sink: SpanSink, start: Callable[..., Worker]) -> Iterator[Scene]:
    """A producer that is instrumented in this process, and what it needs; put back as it was afterwards."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    scene = Scene(broker, sink, start)
    provider = TracerProvider(resource=Resource({"service.name": "producer"}))
    exporter = PerProcessSpanExporter(lambda: OTLPSpanExporter(endpoint=f"{sink.endpoint}/v1/traces"))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
    instrument(scene.app, tracer_provider=provider)
    yield scene
    uninstrument(scene.app)
    provider.shutdown()
    close_app(scene.app)


@pytest.fixture
def scene(broker: Broker, sink: SpanSink, worker: Callable[..., Worker]) -> Iterator[Scene]:
    """The scene over the broker that the test asked for."""
    with instrumented(broker, sink, worker) as scene:
        yield scene


SceneOver = Callable[[Broker], Scene]


@pytest.fixture
def scene_over(sink: SpanSink, worker: Callable[..., Worker]) -> Iterator[SceneOver]:
    """Make the scene over a broker of the test's own: `scene_over(Redis(url, backend=url))`, once."""
    with ExitStack() as scenes:
        yield lambda broker: scenes.enter_context(instrumented(broker, sink, worker))


@pytest.fixture(scope="module")
def stage(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One scene over Redis with one prefork worker for all tests of a module: ask it for traces, not for all spans."""
    workers: list[Worker] = []

    def start(app: str, queues: list[str], **options: Any) -> Worker:
        log_path = tmp_path_factory.mktemp("stage") / "worker.log"
        workers.append(Worker(app, queues, log_path=log_path, **options))
        return workers[-1].start()

    with SpanSink() as sink, instrumented(Redis(redis_url, backend=redis_url), sink, start) as scene:
        scene.worker(concurrency=2, env={"HANDRAIL_BAGGAGE_KEYS": "agent.run.id,tenant"})
        yield scene
        for worker in workers:
            worker.stop()
