"""Ids of spans that no test can repeat by seeding `random`, as hypothesis and pytest-randomly do for each example."""

from __future__ import annotations

import secrets

from opentelemetry.sdk.trace.id_generator import IdGenerator


class UnseededIds(IdGenerator):
    """Ids from the operating system. The SDK's own come from `random`: seeded again, two runs have one trace id."""

    def generate_span_id(self) -> int:
        """Return a span id of 64 bits, not 0."""
        return secrets.randbits(64) or 1

    def generate_trace_id(self) -> int:
        """Return a trace id of 128 bits, not 0."""
        return secrets.randbits(128) or 1

    def is_trace_id_random(self) -> bool:
        """Return that the flag "random" may be set (W3C Trace Context Level 2, section 3.2.2.5.2)."""
        return True
