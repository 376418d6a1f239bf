"""Frames out of a segment's bytes, as fast as Python goes: what is not intact is left to `record.scan`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from google_crc32c import value

from handrail_propagation.spool.record import (
    HEADER_SIZE,
    MAGIC,
    MAX_PAYLOAD,
    VERSION,
    Damage,
    Kind,
    Record,
    scan,
)

Frame: TypeAlias = tuple[int, int, int, int, bytes, int]
"""Kind, origin, dropped, sequence, payload, offset of its end."""

_unpack: Final = struct.Struct("<4sBBHIIQQI").unpack_from
_CHECKED: Final = HEADER_SIZE - 4
_KINDS: Final = frozenset(int(kind) for kind in Kind)


def frames(data: bytes, writer: int, *, base: int = 0) -> Iterator[Frame | Damage]:
    """Yield what `data` holds, as `record.scan` does; `base` is the offset of `data` in its file."""
    here, size = 0, len(data)
    while here < size:
        while (start := here + HEADER_SIZE) <= size:
            magic, version, kind, origin, length, dropped, owner, sequence, checksum = _unpack(data, here)
            end = start + length
            if magic != MAGIC or length > MAX_PAYLOAD or end > size:
                break
            payload = data[start:end]
            if value(data[here : here + _CHECKED] + payload) != checksum:  # to copy is less than another call
                break
            if version != VERSION or kind not in _KINDS or owner != writer:
                break
            here = end
            yield kind, origin, dropped, sequence, payload, base + end
        if here >= size:
            return
        for item in scan(data[here:], base=base + here, writer=writer):
            if isinstance(item, Record):
                yield item.kind, item.origin, item.dropped, item.sequence, item.payload, item.end
                here = item.end - base
                break
            yield item
        else:
            return
