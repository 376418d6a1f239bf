"""Starts, finds and stops what a run needs around it: Redis, the receiver, workers."""

from __future__ import annotations

from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.rabbitmq import RabbitMQServer
from handrail_harness.stack.redis import RedisServer
from handrail_harness.stack.workers import Worker

__all__ = ["EmbeddedStack", "RabbitMQServer", "RedisServer", "Worker"]
