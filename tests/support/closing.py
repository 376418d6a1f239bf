"""Connections that the tested code keeps for as long as its process lives: here they end with the test.

Else the garbage collector ends them. It may come upon a socket before the connection that would have closed it, and
the warning then fails whichever test is under way.
"""

from __future__ import annotations

from typing import Any

import redis
from celery import Celery
from celery.backends.redis import RedisBackend


def close_app(app: Celery) -> None:
    """Close an app and what its result backend has open, which Celery leaves as it is."""
    backend = app.backend
    if isinstance(backend, RedisBackend):
        backend.result_consumer.stop()
        close_redis(backend.client)
    app.close()


def close_redis(client: Any) -> None:
    """Close the connections of a client of redis-py: to each node of a cluster; to a master and its Sentinels."""
    if isinstance(client, redis.RedisCluster):
        clients = [node.redis_connection for node in client.get_nodes()]
    else:
        manager = getattr(client.connection_pool, "sentinel_manager", None)
        clients = [client, *(manager.sentinels if manager else ())]
    for each in clients:
        each.connection_pool.disconnect()
