"""W3C Trace Context (Level 2) on a message: header values in, `SpanContext` out, and back.

The grammar is implemented here because the SDK's propagator loses whole headers where the recommendation asks
for less (opentelemetry-python keeps no tracestate above 512 characters and takes the first of two
traceparents). Nothing in here raises on what a message holds.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, Final

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from handrail_propagation.conventions import (
    HEADER_BAGGAGE,
    HEADER_HANDRAIL,
    HEADER_MESSAGE,
    HEADER_TRACEPARENT,
    HEADER_TRACESTATE,
    REQUEST_CHOSEN_IDS,
)

TRACEPARENT_MAX_CHARS: Final = 512  # a future version may append fields to the 55 characters of version 00
TRACESTATE_MAX_CHARS: Final = 512  # §3.3.1.5: at least this much is propagated
TRACESTATE_MAX_READ: Final = 32 * 520  # the most that 32 entries can come to; more is not looked at
TRACESTATE_MAX_ENTRIES: Final = 32
LONG_ENTRY_CHARS: Final = 128  # §3.3.1.5: entries above this are the first to go

_FLAGS: Final = tuple(TraceFlags(value) for value in range(4))
_FLAG_TEXTS: Final = ("00", "01", "02", "03")
NO_STATE: Final = SpanContext(1, 2, is_remote=True).trace_state
_new_tuple: Any = tuple.__new__
_LAYOUT_KNOWN: Final = tuple(SpanContext(1, 2, True, TraceFlags(1))) == (1, 2, True, 1, NO_STATE, True)
"""Whether a span context is the tuple that it is in OpenTelemetry 1.45."""
_FLAGS_OF: Final = {f"-{text}": value for value, text in enumerate(_FLAG_TEXTS)}
_unpack_ids: Final = Struct(">QQQ").unpack
_TRACEPARENT: Final = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
# §3.3.1.3: a simple key of up to 256 characters, or tenant (241) @ system (14)
_ENTRY: Final = re.compile(
    r"([a-z0-9][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)
MANY_HEADERS: Final = 256
_MANY_MEMBERS: Final = 2 * TRACESTATE_MAX_ENTRIES  # empty ones among them
_NAMES: Final = frozenset({HEADER_TRACEPARENT, HEADER_TRACESTATE, HEADER_BAGGAGE})
_LENGTHS: Final = frozenset({len(name) for name in _NAMES})
_CELERYS: Final = frozenset(
    (
        *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit"),
        *("root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "stamps", "args"),
        *("replaced_task_nesting", "stamped_headers", "properties", "reply_to", "correlation_id", "kwargs"),
        *("hostname", "delivery_info", "is_eager", "callbacks", "errbacks", "chord", "chain"),
    )
)
"""Celery's headers, and what it adds to them in a request."""
_USUAL: Final = _CELERYS | _NAMES | {"headers", HEADER_MESSAGE, HEADER_HANDRAIL, REQUEST_CHOSEN_IDS}


def are_bare(headers: Mapping[Any, Any]) -> bool:
    """Whether headers are Celery's own and no others."""
    return _CELERYS.issuperset(headers)


def header_values(headers: Mapping[Any, Any]) -> dict[str, list[str]]:
    """Return the W3C headers of a message by lower-case name, each with every value it occurs with.

    Names compare case-insensitively (§3.2.1). A value may be a list (what some transports make of a repeated
    header); values of any other type than text are not values. A message with more than 256 headers is
    hostile or broken: only exact names are looked up in it.
    """
    found: dict[str, list[str]] = {}
    if not headers:
        return found
    if _USUAL.issuperset(headers) or len(headers) > MANY_HEADERS:
        for name in _NAMES:
            if name in headers:
                found[name] = _texts(headers[name])
        return found
    for key, value in headers.items():
        if isinstance(key, str) and len(key) in _LENGTHS and (name := key.lower()) in _NAMES:
            found.setdefault(name, []).extend(_texts(value))
    return found


def parse(traceparents: Sequence[str], tracestates: Sequence[str]) -> SpanContext | None:
    """Return the span context that these headers name, or `None` when they name none.

    Two traceparents are none (§3.2: there is one); a tracestate that breaks the grammar is dropped alone.
    """
    if len(traceparents) != 1:
        return None
    (text,) = traceparents
    if not tracestates and (usual := _parse_usual(text)) is not None:
        return usual
    if len(text) > TRACEPARENT_MAX_CHARS:
        return None
    match = _TRACEPARENT.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest):
        return None
    trace_number, span_number = int(trace_id, 16), int(span_id, 16)
    if not trace_number or not span_number:
        return None
    state = parse_tracestate(tracestates) if tracestates else None
    # Flags that a later version may define are not passed on (§3.2.2.5.1): sampled and random are known.
    return span_context(trace_number, span_number, True, int(flags, 16) & 0x03, state)


def _parse_usual(text: str) -> SpanContext | None:
    """Return what nearly every traceparent names, `None` for one that `parse` has to look at.

    Usual is version 00 with flags that are known, and nothing around it. The same as the expression says: hex digits
    are what `unhexlify` takes, in lower case, and the rest has one spelling.
    """
    if len(text) != 55 or text[:3] != "00-" or text[35] != "-" or text.lower() != text:
        return None
    flags = _FLAGS_OF.get(text[52:])
    if flags is None:
        return None
    try:
        high, low, span_id = _unpack_ids(unhexlify(text[3:35] + text[36:52]))
    except ValueError:
        return None
    trace_id = high << 64 | low
    return span_context(trace_id, span_id, True, flags, None) if trace_id and span_id else None


def span_context(
    trace_id: int, span_id: int, is_remote: bool, flags: int, state: TraceState | None
) -> SpanContext:
    """Return a span context of valid ids, and flags from 0 to 3, without its constructor's checks."""
    if not _LAYOUT_KNOWN:
        return SpanContext(trace_id, span_id, is_remote, _FLAGS[flags], state)
    known = NO_STATE if state is None else state
    made: SpanContext = _new_tuple(SpanContext, (trace_id, span_id, is_remote, _FLAGS[flags], known, True))
    return made


def parse_tracestate(values: Sequence[str]) -> TraceState | None:
    """Return the entries of tracestate headers in their order, `None` when any breaks the grammar."""
    if sum(map(len, values)) > TRACESTATE_MAX_READ:
        return None
    entries: dict[str, str] = {}
    members = 0
    for value in values:
        for text in value.split(",", _MANY_MEMBERS):
            text = text.strip(" \t")
            members += 1
            if members > _MANY_MEMBERS:
                return None
            if not text:
                continue  # §3.3.1.1: empty members are allowed
            match = _ENTRY.fullmatch(text)
            if match is None or match[1] in entries:
                return None
            entries[match[1]] = match[2]
    if not entries or len(entries) > TRACESTATE_MAX_ENTRIES:
        return None
    return TraceState(list(entries.items()))


def format_traceparent(context: SpanContext) -> str:
    """Return the traceparent header of a valid span context."""
    trace_id, span_id, _, flags, *_ = context  # its properties are slow
    return (
        f"00-{trace_id.to_bytes(16, 'big').hex()}-{span_id.to_bytes(8, 'big').hex()}-{_FLAG_TEXTS[flags & 3]}"
    )


def format_tracestate(state: TraceState) -> str:
    """Return the tracestate header, shortened by whole entries to 512 characters (§3.3.1.5).

    Entries of more than 128 characters go first, then those at the end.
    """
    entries = [f"{key}={value}" for key, value in state.items()]
    length = sum(map(len, entries)) + len(entries) - 1
    if length > TRACESTATE_MAX_CHARS:
        for long_ones in (True, False):
            for index in range(len(entries) - 1, -1, -1):
                if length <= TRACESTATE_MAX_CHARS:
                    break
                if not long_ones or len(entries[index]) > LONG_ENTRY_CHARS:
                    length -= len(entries.pop(index)) + 1
    return ",".join(entries)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, bytes) and len(value) <= TRACESTATE_MAX_READ:
        return [value.decode("latin-1")]
    if isinstance(value, (list, tuple)) and len(value) <= TRACESTATE_MAX_ENTRIES:
        return [item for item in value if isinstance(item, str)]
    return []
