"""The messaging conventions: attributes of both spans, the four metrics, and nothing that is nobody's business."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from handrail_harness.otlp import parse_protobuf
from handrail_harness.stack.sink import Answer, SpanSink
from handrail_harness.stack.workers import Worker
from handrail_propagation import conventions as names
from handrail_propagation import tracer
from handrail_propagation.metrics import BUCKETS

from .brokers import Broker
from .conftest import Scene, consumers, instrumented, over

pytestmark = pytest.mark.integration


class MetricSink(SpanSink):
    """Keeps metrics as well: by name, the unit and the data points as (attributes, bounds, count or value)."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, tuple[str, list[tuple[dict[str, str], tuple[float, ...], float]]]] = {}

    def answer(self, path: str, body: bytes) -> Answer | None:
        if path.endswith("/v1/metrics"):
            for group in parse_protobuf(body, ExportMetricsServiceRequest).resource_metrics:
                for metric in (one for scope in group.scope_metrics for one in scope.metrics):
                    points = self.metrics.setdefault(metric.name, (metric.unit, []))[1]
                    for point in metric.histogram.data_points:
                        points.append((_plain(point), tuple(point.explicit_bounds), point.count))
                    for number in metric.sum.data_points:
                        points.append((_plain(number), (), number.as_int or number.as_double))
            return Answer()
        return super().answer(path, body)


def _plain(point: Any) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in point.attributes}


@pytest.fixture
def sink() -> Iterator[MetricSink]:
    """An OTLP receiver of this test's own that keeps metrics."""
    with MetricSink() as sink:
        yield sink


@pytest.fixture
def scene(broker: Broker, sink: MetricSink, worker: Callable[..., Worker]) -> Iterator[Scene]:
    """As everywhere, with a sink for metrics."""
    with instrumented(broker, sink, worker) as scene:
        yield scene


@over("redis", "rabbitmq")
def test_attributes_and_metrics(scene: Scene, sink: MetricSink) -> None:
    """Real broker, queue, worker, waits and lineage on the spans; four metrics in the conventions' buckets."""
    unread = f"{scene.queue}-unread"
    scene.send("add", "secret", queue=unread, argsrepr="secret argument", kwargsrepr="secret argument")
    waiting = scene.broker.waiting_headers(unread)
    assert (waiting["argsrepr"], waiting["kwargsrepr"]) == ("", "")
    scene.send("raises", "secret text")
    worker = scene.worker(
        env={"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf"}
    )
    with tracer().start_as_current_span("root"):
        first = scene.send("fan_out", 2, 2).id
    spans = scene.spans(processed=4)
    worker.stop()

    where = scene.broker.destination(scene.queue)
    base = {names.MESSAGING_SYSTEM: scene.broker.system, names.MESSAGING_DESTINATION_NAME: where}
    for span in spans:
        if span.kind == "internal" or unread in span.name:
            continue
        operation = "send" if span.kind == "producer" else "process"
        assert span.name == f"{operation} {where}"
        assert base.items() <= span.attributes.items()
        assert span.attributes[names.MESSAGING_OPERATION_NAME] == operation
        assert span.attributes[names.MESSAGING_OPERATION_TYPE] == operation
        message, root = span.attributes[names.MESSAGING_MESSAGE_ID], span.attributes[names.MESSAGE_ROOT_ID]
        parent = span.attributes.get(names.MESSAGE_PARENT_ID)
        assert (root, parent) == ((first, first) if root == first != message else (message, None))
    received = {str(span.attributes[names.MESSAGING_MESSAGE_ID]): span for span in consumers(spans)}
    for span in received.values():
        assert span.attributes[names.MESSAGING_CLIENT_ID] == span.attributes[names.CELERY_HOSTNAME]
        assert str(span.attributes[names.MESSAGING_CLIENT_ID]).startswith(worker.hostname.split("@")[0])
        assert span.attributes[names.MESSAGE_ATTEMPT] == 1
        assert span.attributes[names.MESSAGE_REDELIVERED] is False
        sent_at = datetime.fromisoformat(str(span.attributes[names.MESSAGE_ENQUEUED_AT])).timestamp()
        wait = float(str(span.attributes[names.MESSAGE_QUEUE_WAIT]))
        assert wait >= 0
        assert sent_at + wait <= span.start_unix_nano / 1e9 + 0.001, "the wait is over when the work begins"
    assert (
        len([one for one in received.values() if one.attributes.get(names.MESSAGE_PARENT_ID) == first]) == 2
    )
    assert "secret" not in repr(spans)

    seconds = {names.METRIC_OPERATION_DURATION, names.METRIC_PROCESS_DURATION}
    counters = {names.METRIC_SENT, names.METRIC_CONSUMED}
    assert seconds | counters <= set(sink.metrics)
    for name in seconds:
        unit, points = sink.metrics[name]
        assert unit == "s"
        assert {bounds for _, bounds, _ in points} == {BUCKETS}
    counted = {
        name: {
            (point[names.MESSAGING_OPERATION_NAME], point.get(names.ERROR_TYPE)): number
            for point, _, number in sink.metrics[name][1]
            if base.items() <= point.items()
        }
        for name in (names.METRIC_SENT, names.METRIC_CONSUMED, names.METRIC_PROCESS_DURATION)
    }
    assert counted == {
        names.METRIC_SENT: {("send", None): 2},
        names.METRIC_CONSUMED: {("process", None): 3, ("process", "ValueError"): 1},
        names.METRIC_PROCESS_DURATION: {("process", None): 3, ("process", "ValueError"): 1},
    }
    assert "secret" not in repr(sink.metrics)
