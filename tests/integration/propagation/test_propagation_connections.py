"""The same tree over TLS, behind a Sentinel across a failover, and on a Redis Cluster."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from kombu.exceptions import OperationalError

from handrail_harness.forest import Forest
from handrail_harness.stack.certificates import ServerCertificate
from handrail_harness.stack.redis import RedisServer
from handrail_propagation import conventions as names
from handrail_propagation import tracer

from ..topologies import MASTER, Watched, cluster_of_three, make_certificate, watched_by_sentinel
from .brokers import RabbitMQ, Redis
from .conftest import Scene, SceneOver

pytestmark = pytest.mark.integration


@pytest.fixture
def tls_redis(certificate: ServerCertificate) -> Iterator[RedisServer]:
    """A Redis that speaks TLS only; one a test, since kombu keeps connections for a URL whatever its `ssl_*` say."""
    with RedisServer(certificate=certificate) as server:
        yield server


def assert_one_tree(forest: Forest, system: str, processed: int) -> None:
    """One trace, one root, no orphan; every message span names the broker."""
    assert len({span.trace_id for span in forest.spans}) == 1
    assert len(forest.roots) == 1
    assert not forest.orphans
    messages = [span for span in forest.spans if span.kind in ("producer", "consumer")]
    assert len(messages) == 2 * processed
    assert {span.attributes[names.MESSAGING_SYSTEM] for span in messages} == {system}


def fan_out(scene: Scene) -> Forest:
    """A task that sends three more, in a worker of the scene, under one root span."""
    scene.worker()
    with tracer().start_as_current_span("root"):
        scene.send("fan_out", 2, 3)
    return scene.forest(processed=4)


def test_rediss(tls_redis: RedisServer, scene_over: SceneOver) -> None:
    """`rediss://` for broker and results, the server's certificate verified: one tree."""
    scene = scene_over(Redis(tls_redis.url, backend=tls_redis.url))
    assert_one_tree(fan_out(scene), "redis", 4)


def test_amqps(
    scene_over: SceneOver, rabbitmq_tls_url: str, certificate: ServerCertificate, redis_url: str
) -> None:
    """`amqps://`, the server's certificate and name verified: one tree."""
    trusted: dict[str, Any] = {
        "ca_certs": str(certificate.authority),
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": "127.0.0.1",
    }
    broker = RabbitMQ(rabbitmq_tls_url, backend=redis_url, settings={"broker_use_ssl": trusted})
    assert_one_tree(fan_out(scene_over(broker)), "rabbitmq", 4)


def test_a_certificate_that_nobody_vouches_for(
    tls_redis: RedisServer, scene_over: SceneOver, redis_url: str, tmp_path: Path
) -> None:
    """The publish fails, and so does its span: with the type of the error, and nothing of the URL."""
    trusted = {"ssl_cert_reqs": "required", "ssl_ca_certs": str(make_certificate(tmp_path).authority)}
    url = f"{tls_redis.url.split('?')[0]}?{urlencode(trusted)}"
    scene = scene_over(Redis(url, backend=redis_url))
    with pytest.raises((OperationalError, redis.ConnectionError)):
        scene.send("add", 1, 2, retry=False)
    scene.spans(processed=0)
    (send,) = scene.sink.wait_for(lambda spans: len(spans) >= 1, timeout=60)
    assert send.status_code == "error"
    assert send.attributes[names.ERROR_TYPE].endswith("Error")
    assert tls_redis.password not in repr(send)
    assert "127.0.0.1" not in repr(send.attributes)


@pytest.fixture
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A Redis behind a Sentinel, over TLS where a parameter says so; up until the workers of the test have stopped."""
    tls = getattr(request, "param", False)
    with watched_by_sentinel(request.getfixturevalue("certificate") if tls else None) as watched:
        yield watched


@pytest.fixture
def cluster() -> Iterator[list[RedisServer]]:
    """A Redis Cluster; up until the workers of the test have stopped."""
    with cluster_of_three() as nodes:
        yield nodes


def over(url: str, options: dict[str, Any]) -> Redis:
    """The broker that is reached with these transport options, for results as well."""
    settings = {"broker_transport_options": options, "result_backend_transport_options": options}
    return Redis(url, backend=url, settings=settings)


def test_sentinel_fails_over_between_two_hops(watched: Watched, scene_over: SceneOver) -> None:
    """The master dies between two messages; the second one is sent to the new master, and it is one tree."""
    scene = scene_over(over(watched.url, {"master_name": MASTER}))
    scene.worker()
    with tracer().start_as_current_span("root"):
        assert scene.send("add", 1, 2).get(timeout=60) == 3
        watched.fail_over()
        scene.send("fan_out", 2, 3)
    assert_one_tree(scene.forest(processed=5), "redis", 5)


@pytest.mark.parametrize("watched", [True], ids=["tls"], indirect=True)
def test_sentinels_that_speak_tls(watched: Watched, scene_over: SceneOver) -> None:
    """Sentinel and master over TLS only, their certificates verified, through `sentinel_kwargs`: one tree."""
    assert watched.certificate is not None
    trusted = {"ssl_cert_reqs": "required", "ssl_ca_certs": str(watched.certificate.authority)}
    broker = over(watched.url, {"master_name": MASTER, "sentinel_kwargs": {"ssl": True, **trusted}})
    secured = {"broker_use_ssl": trusted, "redis_backend_use_ssl": trusted}
    scene = scene_over(replace(broker, settings=broker.settings | secured))
    assert_one_tree(fan_out(scene), "redis", 4)


def test_a_cluster_through_one_hash_slot(cluster: list[RedisServer], scene_over: SceneOver) -> None:
    """kombu knows no Redis Cluster; with all keys in one slot, the node that has the slot is a Redis like any other."""
    prefix = "{propagation}:"
    with redis.RedisCluster(host="127.0.0.1", port=cluster[0].port, password=cluster[0].password) as client:
        owner = client.get_node_from_key(prefix)
    (node,) = [node for node in cluster if owner is not None and node.port == owner.port]
    assert_one_tree(fan_out(scene_over(over(node.url, {"global_keyprefix": prefix}))), "redis", 4)
