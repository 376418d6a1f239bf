"""W3C trace context through Celery messages: "this message belongs under that span", nothing about agents.

`instrument(app)` is the one call; it works alone, in any Celery project. `carrier` is for messages that are not
Celery's, and `integrations` has it worked out for Redis Streams and for kombu.
"""

from __future__ import annotations

from handrail_propagation import carrier
from handrail_propagation.errors import ConfigurationError, HandrailError
from handrail_propagation.events import emit_event
from handrail_propagation.fanout import fan_out
from handrail_propagation.lineage import current_run_id, run_context
from handrail_propagation.redaction import redact
from handrail_propagation.telemetry import Telemetry, flush, instrument, tracer, uninstrument

__all__ = [
    "ConfigurationError",
    "HandrailError",
    "Telemetry",
    "carrier",
    "current_run_id",
    "emit_event",
    "fan_out",
    "flush",
    "instrument",
    "redact",
    "run_context",
    "tracer",
    "uninstrument",
]
