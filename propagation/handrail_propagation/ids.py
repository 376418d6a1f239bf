"""Span ids that are known before the span starts: the worker's main process names what a pool child will record.

So the main process can close the span of a child that died, under the id that the child's finished spans point to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.sdk.trace.id_generator import IdGenerator

_next: ContextVar[int] = ContextVar("handrail-next-span-id", default=0)


class ChosenIds(IdGenerator):
    """Generates ids as `inner` does, except for a span id that was chosen with `next_span_id`."""

    def __init__(self, inner: IdGenerator) -> None:
        self._inner = inner

    def generate_span_id(self) -> int:
        """Return the chosen id, else a generated one."""
        return _next.get() or self._inner.generate_span_id()

    def generate_trace_id(self) -> int:
        """Return a generated id."""
        return self._inner.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        """Whether the trace ids of the wrapped generator are random."""
        return self._inner.is_trace_id_random()


@contextmanager
def next_span_id(span_id: int) -> Iterator[None]:
    """Give this id to the one span that is started inside (0: generate one)."""
    token = _next.set(span_id)
    try:
        yield
    finally:
        _next.reset(token)


def choose() -> bytes:
    """Return a fresh span id as 8 bytes."""
    return os.urandom(8)
