"""Names of brokers and destinations as the messaging conventions have them, out of Celery's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from celery import Celery
from kombu import Queue

RABBITMQ: Final = "rabbitmq"
_SYSTEMS: Final = {
    "amqp": RABBITMQ,
    "py-amqp": RABBITMQ,
    "sqs": "aws_sqs",
    "azureservicebus": "servicebus",
    "confluentkafka": "kafka",
    "gcpubsub": "gcp_pubsub",
}
_DEFAULT_EXCHANGE: Final = "amq.default"


def broker_system(app: Celery) -> str:
    """Return `messaging.system` of an app's broker (`redis`, `rabbitmq`, ...) without connecting to it."""
    try:
        return connection_system(app.connection_for_write())
    except Exception:  # noqa: BLE001 - an unknown transport: the publish itself will say what is wrong
        return "unknown"


def connection_system(connection: Any) -> str:
    """Return `messaging.system` of a kombu connection; raises what kombu does for an unknown transport."""
    driver = str(connection.get_transport_cls().driver_type).lower()
    return _SYSTEMS.get(driver, driver)


def destination_name(
    system: str, exchange: str | None, routing_key: str | None, queue: str | None = None
) -> str:
    """Return `messaging.destination.name`; `queue`, for who consumes, is the one that the message was taken from.

    On RabbitMQ `{exchange}:{routing key}:{queue}`, as its conventions have it: without what is empty or not known,
    without a queue that is called like the routing key, and `amq.default` where nothing is left. Elsewhere the queue
    where messages go straight to one, else exchange:key.
    """
    if system == RABBITMQ:
        if queue == routing_key:
            queue = None
        return ":".join(part for part in (exchange, routing_key, queue) if part) or _DEFAULT_EXCHANGE
    if not exchange or exchange == routing_key:
        return routing_key or exchange or ""
    return f"{exchange}:{routing_key}" if routing_key else exchange


def destination_of_options(app: Celery, system: str, options: Mapping[str, Any]) -> str:
    """Return where a message with these publish options goes; follows `AMQP.send_task_message`."""
    queue = options.get("queue")
    exchange = options.get("exchange")
    routing_key = options.get("routing_key")
    if (
        type(queue) is Queue
        and not exchange
        and "exchange_type" not in options
        and queue.exchange.type == "direct"
    ):
        return str(queue.name)  # as nearly all are
    if queue is None and exchange is None:
        queue = app.amqp.default_queue
    if isinstance(queue, str):
        queue = app.amqp.queues[queue]
    kind = options.get("exchange_type")
    if queue is not None and kind is None:
        kind = getattr(queue.exchange, "type", None)
    if (not exchange or not routing_key) and (kind or "direct") == "direct":
        return queue.name if queue is not None else destination_name(system, exchange, routing_key)
    if exchange is None and queue is not None:
        exchange = queue.exchange.name or app.amqp.default_exchange
        routing_key = routing_key or queue.routing_key or app.conf.task_default_routing_key
    return destination_name(system, str(getattr(exchange, "name", exchange)), routing_key)


def destination_of_delivery(system: str, delivery_info: object, queue: str | None = None) -> str:
    """Return where a delivered message came from, out of kombu's delivery info and the queue that was read."""
    if not isinstance(delivery_info, dict):
        return ""
    exchange, routing_key = delivery_info.get("exchange"), delivery_info.get("routing_key")
    return destination_name(
        system,
        exchange if isinstance(exchange, str) else None,
        routing_key if isinstance(routing_key, str) else None,
        queue,
    )
