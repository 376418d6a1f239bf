"""One record of the spool: a fixed header with a checksum, then an OTLP protobuf message.

The layout is in docs/adr/0006-spool-format.md. Nothing in here touches a file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, final

from google_crc32c import extend, value

MAGIC: Final = b"HRSP"
VERSION: Final = 1
MAX_PAYLOAD: Final = 16 << 20
"""Bytes; a longer payload is refused by the writer, a longer length is not believed by the reader."""
MAX_ORIGIN: Final = 0xFFFF
MAX_DROPPED: Final = 0xFFFFFFFF

_FIELDS: Final = struct.Struct("<4sBBHIIQQ")
_CRC: Final = struct.Struct("<I")
_FIELDS_SIZE: Final = _FIELDS.size
HEADER_SIZE: Final = _FIELDS.size + _CRC.size
pack_fields = _FIELDS.pack
pack_crc = _CRC.pack


class Kind(IntEnum):
    """What a record's payload is."""

    WRITER = 1
    """Who writes this segment: an OTLP `Resource`."""
    ORIGIN = 2
    """Resource and scope of the records that refer to it: an OTLP `ResourceSpans` without spans."""
    SPAN_START = 3
    """An OTLP `Span` with end time 0."""
    SPAN_END = 4
    """An OTLP `Span`."""
    LOG = 5
    """An OTLP `LogRecord`."""
    CLOSE = 6
    """Nothing: the writer ended in good order."""


_KINDS: Final = frozenset(Kind)

DamageReason = Literal["fragment", "checksum", "unknown_version", "unknown_kind", "foreign_writer"]


@dataclass(frozen=True, slots=True)
class Record:
    """An intact record and where it stands: `offset` of its header and `end` behind its payload, in bytes."""

    kind: Kind
    origin: int
    """Which origin record of the same segment this one belongs to, from 1; 0 for none."""
    dropped: int
    """How many records the writer had dropped before this one."""
    writer: int
    sequence: int
    payload: bytes
    offset: int
    end: int

    @property
    def id(self) -> str:
        """The same for every copy of this record, and for no other: for de-duplication downstream."""
        return f"{self.writer:016x}-{self.sequence}"


@final
@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no record: why, from `offset` to `end`.

    `sequence` is the number of the record that stood there, where the header can still be believed; else 0.
    """

    reason: DamageReason
    offset: int
    end: int
    sequence: int = 0


def pack(kind: int, writer: int, sequence: int, payload: bytes, origin: int = 0, dropped: int = 0) -> bytes:
    """Return the frame of one record. Raises `ValueError` for a payload above `MAX_PAYLOAD`."""
    length = len(payload)
    if length > MAX_PAYLOAD:
        raise ValueError(f"a record of {length:,} bytes is above the spool's limit of {MAX_PAYLOAD:,}.")
    if dropped > MAX_DROPPED:
        dropped = MAX_DROPPED
    fields = pack_fields(MAGIC, VERSION, kind, origin, length, dropped, writer, sequence)
    return fields + pack_crc(extend(value(fields), payload)) + payload


def scan(data: bytes, *, base: int = 0, writer: int | None = None) -> Iterator[Record | Damage]:
    """Yield what `data` holds, in order: every byte of it is in a record or in a damage.

    `base` is the offset of `data` in its file. With `writer`, records of another writer are damage. After
    bytes that cannot be believed reading goes on at the next intact frame; bytes at the end that could be the
    beginning of a frame are one damage with the reason `fragment`. Never raises, whatever the bytes are.
    """
    here, size = 0, len(data)
    while here < size:
        found = _frame(data, here)
        if found is None:
            yield from _damaged(data, here, base)
            here = _next_frame(data, here)
            continue
        version, kind, origin, length, dropped, owner, sequence = found
        start, end = here + HEADER_SIZE, here + HEADER_SIZE + length
        reason: DamageReason | None = None
        if version != VERSION:
            reason = "unknown_version"
        elif kind not in _KINDS:
            reason = "unknown_kind"
        elif writer is not None and owner != writer:
            reason = "foreign_writer"
        if reason is None:
            payload = bytes(data[start:end])
            yield Record(Kind(kind), origin, dropped, owner, sequence, payload, base + here, base + end)
        else:
            yield Damage(reason, base + here, base + end, 0 if reason == "foreign_writer" else sequence)
        here = end


def _fields(data: bytes, offset: int) -> tuple[int, int, int, int, int, int, int] | None:
    if offset + HEADER_SIZE > len(data) or not data.startswith(MAGIC, offset):
        return None
    _, version, kind, origin, length, dropped, writer, sequence = _FIELDS.unpack_from(data, offset)
    return None if length > MAX_PAYLOAD else (version, kind, origin, length, dropped, writer, sequence)


def _frame(data: bytes, offset: int) -> tuple[int, int, int, int, int, int, int] | None:
    """Return the fields of the frame at `offset` if its checksum is right."""
    fields = _fields(data, offset)
    if fields is None:
        return None
    start = offset + HEADER_SIZE
    end = start + fields[3]
    if end > len(data):
        return None
    checksum: int = _CRC.unpack_from(data, offset + _FIELDS_SIZE)[0]
    right: int = extend(value(data[offset : offset + _FIELDS_SIZE]), data[start:end])
    return fields if checksum == right else None


def _next_frame(data: bytes, offset: int) -> int:
    """Return the offset of the first intact frame after `offset`, or the end of the data."""
    while (offset := data.find(MAGIC, offset + 1)) >= 0:
        if _frame(data, offset) is not None:
            return offset
    return len(data)


def _damaged(data: bytes, offset: int, base: int) -> Iterator[Damage]:
    """Yield the bytes up to the next intact frame, one damage for each record that can be told apart."""
    end = _next_frame(data, offset)
    while offset < end:
        fields = _fields(data, offset)
        behind = end if fields is None else offset + HEADER_SIZE + fields[3]
        if fields is None or behind > end or (behind < end and not data.startswith(MAGIC, behind)):
            # Only the end of a file can be a record that was never completely written
            torn = end == len(data) and (fields is not None or data.startswith(MAGIC[: end - offset], offset))
            yield Damage("fragment" if torn else "checksum", base + offset, base + end)
            return
        yield Damage("checksum", base + offset, base + behind, fields[6])
        offset = behind
