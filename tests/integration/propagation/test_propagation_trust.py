"""Whom a worker believes, and what hostile messages do to it: raw messages, real queues, a real worker."""

from __future__ import annotations

import json

import pytest
import redis

from handrail_harness.conformance.hostile import SHAPES
from handrail_harness.spans import Span
from handrail_propagation import conventions as names

from .conftest import APPS, Scene, consumers, over

pytestmark = pytest.mark.integration

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = (f"00-{TRACE}-{PARENT}-{flags}" for flags in ("01", "00"))


def by_message(spans: list[Span]) -> dict[str, Span]:
    """The `process` spans by the id of their message."""
    return {str(span.attributes[names.MESSAGING_MESSAGE_ID]): span for span in consumers(spans)}


def claimed(span: Span) -> list[tuple[str, str]]:
    """Spans that a restarted trace is linked to, because its message claimed them."""
    return [
        (link.trace_id, link.span_id)
        for link in span.links
        if link.attributes.get(names.LINK_TYPE) == names.LINK_CLAIMED
    ]


@over("redis", "rabbitmq")
def test_trust_by_queue(scene: Scene) -> None:
    """One worker believes its own queue, restarts traces of a second and ignores those of a third.

    The flag with which an untrusted producer asks for (no) sampling counts for nothing.
    """
    partners, public = (f"{scene.queue}-{name}" for name in ("partners", "public"))
    claims = {"traceparent": NOT_SAMPLED, "baggage": "agent.run.id=claimed"}
    message = {names.HEADER_MESSAGE: {"retry_of": SAMPLED, "attempt": 7}}
    own = scene.send_raw("add", {**claims, "traceparent": SAMPLED}, 1, 2)
    unsampled = scene.send_raw("add", claims, 1, 2)
    restarted = scene.send_raw("add", claims | message, 1, 2, queue=partners)
    dropped = scene.send_raw("add", claims | message, 1, 2, queue=public)
    unknown = scene.send_raw("nothing_of_that_name", claims, queue=public)
    scene._start(
        "propagation_app",
        [scene.queue, partners, public],
        cwd=APPS,
        env=scene.environ(
            HANDRAIL_TRUST=f"drop, {scene.queue}=continue, {partners}=restart",
            OTEL_TRACES_SAMPLER="parentbased_always_on",
        ),
    )
    found = by_message(scene.spans(processed=4))
    assert set(found) == {own, restarted, dropped, unknown}, "not sampled where the flag is believed"
    assert unsampled not in found
    assert (found[own].trace_id, found[own].parent_span_id) == (TRACE, PARENT)
    assert found[own].attributes[names.RUN_ID] == "claimed"
    for task_id in (restarted, dropped, unknown):
        span = found[task_id]
        assert span.trace_id != TRACE
        assert span.parent_span_id == ""
        assert names.RUN_ID not in span.attributes
        assert claimed(span) == ([(TRACE, PARENT)] if task_id == restarted else [])
        assert not [link for link in span.links if link.attributes[names.LINK_TYPE] == names.LINK_RETRY_OF]


def test_a_message_does_not_say_which_queue_it_is_from(scene: Scene) -> None:
    """On Redis the routing key is what the producer wrote: the worker asks by the queue that it read from."""
    public = f"{scene.queue}-public"
    task_id = scene.send_raw("add", {"traceparent": SAMPLED}, 1, 2, queue=public)
    with redis.Redis.from_url(scene.broker.url) as client:
        message = json.loads(client.lindex(public, 0))
        message["properties"]["delivery_info"] = {"exchange": "", "routing_key": scene.queue}
        client.lset(public, 0, json.dumps(message))
    scene._start(
        "propagation_app",
        [scene.queue, public],
        cwd=APPS,
        env=scene.environ(HANDRAIL_TRUST=f"restart, {scene.queue}=continue"),
    )
    span = by_message(scene.spans(processed=1))[task_id]
    assert span.trace_id != TRACE
    assert claimed(span) == [(TRACE, PARENT)]


def test_trust_by_app(scene: Scene) -> None:
    """`instrument(app, trust=...)` goes before the variable."""
    task_id = scene.send_raw("add", {"traceparent": SAMPLED}, 1, 2)
    scene.worker(env={"HANDRAIL_TRUST": "continue", "TEST_TRUST": "drop"})
    span = by_message(scene.spans(processed=1))[task_id]
    assert span.trace_id != TRACE
    assert span.links == ()


def test_hostile_headers_do_not_fail_a_task(scene: Scene) -> None:
    """Whatever the headers, the task runs once and has its one span; a good traceparent beside them counts."""
    sent = {}
    for shape, make in SHAPES.items():
        headers = {str(key): value for key, value in make(1_000_000).items() if not isinstance(value, bytes)}
        headers.pop("eta", None)  # Celery itself refuses an ETA that is none
        headers.pop("headers", None)
        if shape == "list":
            headers = {"traceparent": [SAMPLED] * 1000, "baggage": ["x" * 10_000] * 32}
        sent[scene.send_raw("add", headers, 1, 2)] = shape
    worker = scene.worker()
    found = by_message(scene.spans(processed=len(SHAPES)))
    assert {sent[task_id] for task_id in found} == set(SHAPES)
    assert {span.attributes[names.CELERY_STATE] for span in found.values()} == {"SUCCESS"}
    continued = {sent[task_id] for task_id, span in found.items() if span.trace_id == TRACE}
    assert continued == {"long tracestate", "empty members", "many members", "pairs"}
    assert "without a span" not in worker.log()
