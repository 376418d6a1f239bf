"""Which run each header task of a chord was, so that the body can link to all of them.

Kept next to what Celery's Redis backend keeps for a chord, for as long. Other result backends keep nothing
here: their body is linked to the run whose end let it start.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from opentelemetry.trace import SpanContext

from handrail_propagation import tracecontext

_log = logging.getLogger(__name__)
_EXPIRES_SECONDS = 24 * 3600
_MAX_LINKS = 1024
_MAX_DEPTH = 8


def remember(backend: Any, group_id: object, task_id: str, run: SpanContext) -> None:
    """Note the span of one header task's delivery; of several attempts the last one counts."""
    if not run.is_valid or not isinstance(group_id, str) or (client := _redis(backend)) is None:
        return
    key = _key(backend, group_id)
    try:
        with client.pipeline(transaction=False) as pipeline:
            pipeline.hset(key, task_id, tracecontext.format_traceparent(run))
            pipeline.expire(key, _EXPIRES_SECONDS)
            pipeline.execute()
    except Exception:  # noqa: BLE001 - a link less, never a task
        _log.warning("a run of chord %s will not be linked from its body", group_id, exc_info=True)


def runs(backend: Any, group_id: object) -> list[SpanContext]:
    """Return the spans that were noted for a chord's header, in no particular order."""
    if not isinstance(group_id, str) or (client := _redis(backend)) is None:
        return []
    try:
        noted = client.hvals(_key(backend, group_id))
    except Exception:  # noqa: BLE001 - as above
        _log.warning("the runs of chord %s are not linked from its body", group_id, exc_info=True)
        return []
    found = (tracecontext.parse((_text(value),), ()) for value in noted[:_MAX_LINKS])
    return [context for context in found if context is not None]


def belongs_to_body(task_id: object, body: object) -> bool:
    """Whether a message is (part of) the body of a chord: its first task, or one of a group that is the body."""
    return task_id in _starts(body, _MAX_DEPTH)


def _starts(signature: object, depth: int) -> Iterator[object]:
    if not isinstance(signature, dict) or depth == 0:
        return
    kind = signature.get("subtask_type")
    inner = (signature.get("kwargs") or {}).get("tasks") or ()
    if kind == "chain":
        yield from _starts(next(iter(inner), None), depth - 1)
    elif kind == "group":
        for task in inner:
            yield from _starts(task, depth - 1)
    else:
        yield (signature.get("options") or {}).get("task_id")


def _redis(backend: Any) -> Any:
    """Return the backend's Redis client, `None` for a backend that is not Redis."""
    from celery.backends.redis import RedisBackend

    return backend.client if isinstance(backend, RedisBackend) else None


def _key(backend: Any, group_id: str) -> Any:
    return backend.get_key_for_group(group_id, ".handrail")


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
