"""Many messages at once: one true `send` span each, whether they go in one pipeline or one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
import redis
from celery import group
from kombu.exceptions import BatchPublishError
from opentelemetry import trace

from handrail_harness.spans import Span
from handrail_harness.stack.redis import RedisServer
from handrail_propagation import conventions as names
from handrail_propagation import fan_out, tracer
from handrail_propagation.fanout import MESSAGES_MAX

from .brokers import Redis
from .conftest import Scene, SceneOver, over

pytestmark = pytest.mark.integration


def waiting(scene: Scene) -> int:
    """Messages in the scene's queue on Redis."""
    with redis.Redis.from_url(scene.broker.url) as client:
        count = client.llen(scene.queue)
    assert isinstance(count, int)
    return count


def sends(scene: Scene, count: int) -> list[Span]:
    """The `send` spans, once there are as many (fails when there are more)."""

    def found(spans: list[Span]) -> list[Span]:
        return [span for span in spans if span.kind == "producer"]

    scene.spans(processed=0)
    spans = found(scene.sink.wait_for(lambda spans: len(found(spans)) >= count, timeout=60))
    assert len(spans) == count
    return spans


def fan_out_three(scene: Scene, *then: Callable[[], object]) -> None:
    """Send three messages in a block, in which then something else happens."""
    with fan_out(scene.app):
        for number in range(3):
            scene.send("add", number, 1)
        for happen in then:
            happen()


def raising() -> None:
    """Fail for a reason that has nothing to do with messages."""
    raise LookupError


@over("redis", "rabbitmq")
def test_a_fan_out_is_one_tree(scene: Scene) -> None:
    """Each message is under a send of its own below the span that was current; on Redis all go when the block ends."""
    with tracer().start_as_current_span("root") as root:
        with fan_out(scene.app):
            results = [scene.send("add", number, 1) for number in range(5)]
            assert trace.get_current_span() is root
            if scene.broker.system == "redis":
                assert waiting(scene) == 0
        assert trace.get_current_span() is root
    if scene.broker.system == "redis":
        assert waiting(scene) == 5
    scene.worker()
    assert [result.get(timeout=60) for result in results] == [1, 2, 3, 4, 5]
    forest = scene.forest(processed=5)
    (top,) = forest.roots
    sent = {span.attributes["messaging.message.id"]: span for span in forest.spans if span.kind == "producer"}
    assert set(sent) == {result.id for result in results}
    assert {span.parent_span_id for span in sent.values()} == {top.span_id}
    done = [span for span in forest.spans if span.kind == "consumer"]
    assert len(done) == 5
    for span in done:
        assert span.parent_span_id == sent[span.attributes["messaging.message.id"]].span_id
    assert {span.status_code for span in sent.values()} == {"unset"}
    assert not forest.orphans


def test_a_pipeline_that_fails_is_failed_sends(scene_over: SceneOver) -> None:
    """Redis is gone when the block ends: the caller is told, every send of it has failed, one before it has not."""
    with RedisServer() as server:
        scene = scene_over(Redis(server.url, backend=server.url))
        with tracer().start_as_current_span("root") as root:
            with fan_out(scene.app):
                scene.send("add", 0, 1)
            with pytest.raises(BatchPublishError):
                fan_out_three(scene, server.stop)
            assert trace.get_current_span() is root
    spans = sends(scene, 4)
    failed = [span for span in spans if span.status_code == "error"]
    assert len(failed) == 3
    for span in failed:
        assert span.attributes[names.ERROR_TYPE] == "kombu.exceptions.BatchPublishError"


def test_a_block_that_raises_has_sent_what_it_sent(scene: Scene) -> None:
    """An error of the block reaches the caller, with what was sent before it on the way, as without fan_out."""
    with pytest.raises(LookupError):
        fan_out_three(scene, raising)
    assert waiting(scene) == 3
    assert [span.status_code for span in sends(scene, 3)] == ["unset"] * 3


def test_a_block_that_raises_after_redis_is_gone(scene_over: SceneOver) -> None:
    """The block's own error goes first, with a note of the messages that are in doubt."""
    with RedisServer() as server:
        scene = scene_over(Redis(server.url, backend=server.url))
        with pytest.raises(LookupError) as raised:
            fan_out_three(scene, server.stop, raising)
    assert "may not have been delivered" in raised.value.__notes__[0]
    assert [span.status_code for span in sends(scene, 3)] == ["error"] * 3


def test_a_long_fan_out_goes_in_pieces(scene: Scene) -> None:
    """A full pipeline goes before the block ends; an inner block adds to the outer; another thread sends at once."""
    scene.app.conf.task_ignore_result = True
    with fan_out(scene.app):
        for number in range(MESSAGES_MAX - 1):
            scene.send("add", number, 1)
        with fan_out(scene.app):
            assert waiting(scene) == 0
            # Celery gives each thread a result backend, of which nobody closes the connections
            send_untold = partial(scene.send, ignore_result=True)
            other = threading.Thread(target=send_untold, args=("add", 0, 0))
            other.start()
            other.join()
            assert waiting(scene) == 1
            scene.send("add", 0, 1)
            assert waiting(scene) == MESSAGES_MAX + 1
            scene.send("add", 1, 1)
        assert waiting(scene) == MESSAGES_MAX + 1
    assert waiting(scene) == MESSAGES_MAX + 2
    scene.send("add", 2, 1)
    assert waiting(scene) == MESSAGES_MAX + 3
    assert {span.status_code for span in sends(scene, MESSAGES_MAX + 3)} == {"unset"}


def test_a_group_in_a_block_with_a_pool_of_one(scene: Scene) -> None:
    """A group goes with the block, and no message needs another connection than the block's."""
    scene.app.conf.broker_pool_acquire_timeout = 1
    scene.app.producer_pool.limit = 1
    with fan_out(scene.app):
        group([scene.signature("add", number, 1) for number in range(3)], app=scene.app).apply_async()
        assert waiting(scene) == 0
    assert waiting(scene) == 3
    assert len({span.attributes["messaging.message.id"] for span in sends(scene, 3)}) == 3
