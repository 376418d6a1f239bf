"""Log-based events in a span's context, and the bridge that repeats them on the span itself.

OpenTelemetry is moving from span events to log-based events (OTEP 4430); stores without a logs signal
(Jaeger) need the bridge. Values are expected to be redacted already: this room sends, it does not judge.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import Span, set_span_in_context

_log = logging.getLogger(__name__)

EventAttributes = Mapping[str, Any]


def emit_event(
    name: str,
    attributes: EventAttributes,
    *,
    context: Context | None = None,
    span: Span | None = None,
    severity: SeverityNumber | None = None,
) -> None:
    """Emit one log-based event; it never raises.

    The event belongs to `span` if given, else to the span of `context` (default: the current one). With
    `span`, the event is added to the span, too (switch off with `HANDRAIL_SPAN_EVENTS=false`). Attributes
    whose value is `None` are left out. `severity` lets a Collector filter: content events are DEBUG.
    """
    from handrail_propagation import telemetry

    present = {key: value for key, value in attributes.items() if value is not None}
    now = time.time_ns()
    try:
        if span is not None:
            context = set_span_in_context(span, context)
            if telemetry.config().span_events:
                span.add_event(name, present, timestamp=now)
        telemetry.event_logger().emit(
            timestamp=now,
            observed_timestamp=now,
            context=context,
            severity_number=severity,
            severity_text=severity.name if severity else None,
            event_name=name,
            attributes=present,
        )
    except Exception:  # noqa: BLE001 - telemetry must not fail the work that it describes
        _log.warning("event %s could not be recorded", name, exc_info=True)
