"""Ids that are known before the span starts: the worker's main process names what a pool child will record.

So the main process can close the span of a child that died, under the ids that the child's finished spans point to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from struct import Struct
from typing import Final, TypeGuard

from opentelemetry.sdk.trace.id_generator import IdGenerator

SPAN_ID_BYTES: Final = 8
_TRACE_ID_BYTES: Final = 16
_AT_ONCE: Final = 64
_unpack: Final = Struct(">QQQ").unpack
_fresh: list[bytes] = []
os.register_at_fork(after_in_child=_fresh.clear)
_next: ContextVar[bytes] = ContextVar("handrail-next-ids", default=b"")


class ChosenIds(IdGenerator):
    """Generates ids as `inner` does, except for those that were chosen with `chosen_ids`."""

    def __init__(self, inner: IdGenerator) -> None:
        self._inner = inner

    def generate_span_id(self) -> int:
        """Return the chosen id, else a generated one."""
        return int.from_bytes(_next.get()[:SPAN_ID_BYTES], "big") or self._inner.generate_span_id()

    def generate_trace_id(self) -> int:
        """Return the chosen id, else a generated one; only asked for when a span has no parent."""
        return int.from_bytes(_next.get()[SPAN_ID_BYTES:], "big") or self._inner.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        """Whether the trace ids of the wrapped generator are random."""
        return self._inner.is_trace_id_random()


@contextmanager
def chosen_ids(ids: object) -> Iterator[None]:
    """Give these ids (from `choose`) to the one span that is started inside; anything else: generate them."""
    if not are_ids(ids):
        yield
        return
    token = _next.set(ids)
    try:
        yield
    finally:
        _next.reset(token)


def are_ids(ids: object) -> TypeGuard[bytes]:
    """Whether something is what `choose` returns."""
    return isinstance(ids, bytes) and len(ids) == SPAN_ID_BYTES + _TRACE_ID_BYTES


def unpack(ids: bytes) -> tuple[int, int]:
    """Return the span id and the trace id out of what `choose` returned."""
    span_id, high, low = _unpack(ids)
    return span_id, high << 64 | low


def choose() -> bytes:
    """Return a fresh span id and, should the span be a root, trace id."""
    try:
        return _fresh.pop()
    except IndexError:
        size = SPAN_ID_BYTES + _TRACE_ID_BYTES
        drawn = os.urandom(_AT_ONCE * size)  # a call into the kernel for each would cost ten times as much
        _fresh.extend(drawn[start : start + size] for start in range(size, len(drawn), size))
        return drawn[:size]
