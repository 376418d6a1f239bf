"""What the spans of usual messages say of themselves as OTLP bytes, without a dictionary in between.

A short way (docs/adr/0030): what a template's `expand` returns for these details, encoded by `otlp.values.Attributes`,
is the same byte for byte, and a test holds both against each other. For details that are not usual there is `None`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from handrail_propagation import conventions as names
from handrail_propagation.otlp.values import Attributes, Prefixes
from handrail_propagation.otlp.wire import pack_double
from handrail_propagation.sender import utc_second

ATTRIBUTES: Final = Attributes(0x4A)
"""The attributes of spans of messages; these have few names."""
_MICROS: Final = 1_000_000
_ID: Final = Prefixes(ATTRIBUTES, names.MESSAGING_MESSAGE_ID)
_ROOT_ID: Final = Prefixes(ATTRIBUTES, names.MESSAGE_ROOT_ID)
_PARENT_ID: Final = Prefixes(ATTRIBUTES, names.MESSAGE_PARENT_ID)
_RUN_ID: Final = Prefixes(ATTRIBUTES, names.RUN_ID)
_FIRST: Final = ATTRIBUTES.encode({names.MESSAGE_ATTEMPT: 1, names.MESSAGE_REDELIVERED: False})
_AT: Final = Prefixes(ATTRIBUTES, names.MESSAGE_ENQUEUED_AT)[len("1970-01-01T00:00:00.000001+00:00")]
_WAIT: Final = ATTRIBUTES.encode({names.MESSAGE_QUEUE_WAIT: 0.0})[:-8]


def of_send(details: tuple[Any, ...]) -> Sequence[bytes] | None:
    """Return what a `send` span says: usual are ids that are texts, and no time that the message is bound to."""
    task_id, root_id, parent_id, eta, expires, run_id = details
    if eta or expires or not type(task_id) is type(root_id) is str or not task_id or not root_id:
        return None
    data = task_id.encode()
    root = data if root_id is task_id else root_id.encode()
    parts = [_ID[len(data)], data, _ROOT_ID[len(root)], root]
    if parent_id:
        if type(parent_id) is not str:
            return None
        parent = parent_id.encode()
        parts += _PARENT_ID[len(parent)], parent
    if run_id:
        run = run_id.encode()
        parts += _RUN_ID[len(run)], run
    return parts


def of_process(details: tuple[Any, ...]) -> Sequence[bytes] | None:
    """Return what a `process` span says: usual is a first attempt, and a message that says when it was sent."""
    # In the order of `processspan._Details`
    task_id, attempt, sent_at, start_time, run_id, redelivered, retries, root_id, parent_id, eta, expires = (
        details
    )
    if attempt != 1 or redelivered or retries or eta or expires or type(sent_at) is not int:
        return None
    second, micros = divmod(sent_at, _MICROS)
    if not micros or not 0 <= second < 1 << 32:
        return None
    data = task_id.encode()
    parts = [_ID[len(data)], data, _FIRST]
    if run_id:
        run = run_id.encode()
        parts += _RUN_ID[len(run)], run
    if root_id:
        root = data if root_id is task_id else root_id.encode()
        parts += _ROOT_ID[len(root)], root
    if parent_id:
        parent = parent_id.encode()
        parts += _PARENT_ID[len(parent)], parent
    wait = start_time // 1000 - sent_at
    parts += (
        _AT,
        f"{utc_second(second)}.{micros:06d}+00:00".encode(),
        _WAIT,
        pack_double(wait / 1e6 if wait > 0 else 0.0),
    )
    return parts
