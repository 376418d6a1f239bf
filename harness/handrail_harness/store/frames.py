"""The frame around each record of the raw log, and what a stretch of bytes holds.

Layout, little-endian: magic, payload length, sequence, receive time (epoch ns), kind, encoding, two zero
bytes, CRC-32 of the payload, CRC-32 of the header so far; then the payload. Two checksums, so that a
flipped bit in a payload costs that record only, and one in a length is not believed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from handrail_harness.store.base import Damage, DamageReason, Position, Record

MAGIC = b"HRL1"
_FIELDS = struct.Struct("<4sIQQBBHI")
_CRC = struct.Struct("<I")
HEADER_SIZE = _FIELDS.size + _CRC.size


def pack(kind: int, encoding: int, sequence: int, received_unix_nano: int, payload: bytes) -> bytes:
    """Return the frame's header; the payload follows it on disk."""
    fields = _FIELDS.pack(
        MAGIC, len(payload), sequence, received_unix_nano, kind, encoding, 0, zlib.crc32(payload)
    )
    return fields + _CRC.pack(zlib.crc32(fields))


def scan(data: bytes, at: Position) -> Iterator[Record | Damage]:
    """Yield what `data`, read at `at`, holds: every byte of it is in a record or in a damage.

    After a header that cannot be believed the scan goes on at the next believable one. Bytes at the end
    that are not a whole record are one `Damage` with the reason `tail`.
    """
    segment, base = at
    here = 0

    def damage(reason: DamageReason, end: int) -> Damage:
        return Damage(reason, Position(segment, base + here), end - here, Position(segment, base + end))

    while here < len(data):
        fields = _header(data, here)
        if fields is None:
            found = _next_header(data, here + 1)
            yield damage("tail" if found is None else "header", len(data) if found is None else found)
            here = len(data) if found is None else found
            continue
        length, sequence, received, kind, encoding, crc = fields
        end = here + HEADER_SIZE + length
        if end > len(data):
            yield damage("tail", len(data))
            return
        payload = data[here + HEADER_SIZE : end]
        if zlib.crc32(payload) == crc:
            place, after = Position(segment, base + here), Position(segment, base + end)
            yield Record(kind, encoding, sequence, received, payload, place, after)
        else:
            yield damage("payload", end)
        here = end


def _header(data: bytes, offset: int) -> tuple[int, int, int, int, int, int] | None:
    end = offset + HEADER_SIZE
    if end > len(data) or data[offset : offset + 4] != MAGIC:
        return None
    if _CRC.unpack_from(data, end - _CRC.size)[0] != zlib.crc32(data[offset : end - _CRC.size]):
        return None
    _, length, sequence, received, kind, encoding, _, crc = _FIELDS.unpack_from(data, offset)
    return length, sequence, received, kind, encoding, crc


def _next_header(data: bytes, offset: int) -> int | None:
    while (offset := data.find(MAGIC, offset)) >= 0:
        if _header(data, offset) is not None:
            return offset
        offset += 1
    return None
