"""An acknowledgement that does not reach the broker: the message is delivered again, marked as redelivered."""

from __future__ import annotations

from functools import wraps
from typing import Any

import celery.worker.request as celery_request

from handrail_harness.faults.rules import Rules


def install(rules: Rules) -> None:
    """Wrap `Request.acknowledge` of the worker's main process.

    What a broker does once it notices that an acknowledgement is missing (at the end of the connection, or of Redis'
    visibility timeout) is asked for at once: the message goes back to its queue, as redelivered.
    """
    request: Any = celery_request.Request
    acknowledge = request.acknowledge

    @wraps(acknowledge)
    def acknowledge_lost(self: Any) -> None:
        queue = str((self.delivery_info or {}).get("routing_key") or "")
        for rule in () if self.acknowledged else rules.read():
            meant = rule.kind == "lose_ack" and rule.matches(str(self.name), queue)
            if meant and rules.claim(rule, message=str(self.id), queue=queue):
                self.reject(requeue=True)
                return
        acknowledge(self)

    request.acknowledge = acknowledge_lost
