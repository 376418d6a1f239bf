"""The protobuf wire format: lengths and numbers as bytes, the frequent ones out of a table.

Source: protobuf.dev, "Encoding". A field is a tag, then a varint, 4 or 8 bytes, or a length and that many bytes.
"""

from __future__ import annotations

from struct import Struct
from typing import Final


class Unusual(Exception):
    """Something that this encoder leaves to the stock one."""


TABLE_SIZE: Final = 2048

pack_fixed64 = Struct("<Q").pack
pack_fixed32 = Struct("<I").pack
pack_double = Struct("<d").pack


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_TABLE: Final = [_varint(number) for number in range(TABLE_SIZE)]


def varint(number: int) -> bytes:
    """Return an unsigned number of up to 64 bits as a varint."""
    return _TABLE[number] if number < TABLE_SIZE else _varint(number)


def varint64(number: int) -> bytes:
    """Return an `int64` as a varint: ten bytes for a negative one. Raises `Unusual` beyond 64 bits."""
    if 0 <= number < TABLE_SIZE:
        return _TABLE[number]
    if not -(1 << 63) <= number < 1 << 63:
        raise Unusual
    return _varint(number & 0xFFFFFFFFFFFFFFFF)


def varint32(number: int) -> bytes:
    """Return a `uint32` as a varint. Raises `Unusual` beyond 32 bits."""
    if not 0 <= number < 1 << 32:
        raise Unusual
    return varint(number)


def fields(tag: int) -> list[bytes]:
    """Return tag and length of a length-delimited field, for each length below `TABLE_SIZE`."""
    return [bytes((tag,)) + length for length in _TABLE]
