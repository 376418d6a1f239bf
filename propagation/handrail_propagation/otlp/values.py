"""Attributes and values: OTLP's `KeyValue` and `AnyValue`.

Source: opentelemetry-proto, common/v1/common.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes

from handrail_propagation.otlp.wire import TABLE_SIZE, Unusual, fields, pack_double, varint, varint64

MAX_DEPTH: Final = 16
"""Arrays and maps inside one another; protobuf itself gives up somewhere above."""
MAX_KEYS: Final = 2048
"""Attribute names that are remembered for a field, before all are forgotten."""
MAX_LENGTH: Final = 128
"""Characters of a name or value that is remembered."""
MAX_PREFIXES: Final = 128
"""Lengths of texts of an attribute whose beginnings are remembered."""
MAX_VALUES: Final = 64
"""Values that are remembered of an attribute; one with more of them is taken to be different each time."""

_VALUES: Final = fields(0x0A)  # ArrayValue.values, KeyValueList.values, KeyValue.key, AnyValue.string_value
_ARRAY: Final = fields(0x2A)
_MAP: Final = fields(0x32)
_BYTES: Final = fields(0x3A)
_MAPPINGS: Final = (dict, MappingProxyType, BoundedAttributes)
_SHORT: Final = 126
_ARRAY_TEXT: Final = [bytes((0x0A, length + 2, 0x0A, length)) for length in range(_SHORT)]
"""What stands before a text of that length in an `ArrayValue`."""
_ARRAY_VALUE: Final = [bytes((length + 2, 0x2A, length)) for length in range(_SHORT)]
_MAP_VALUE: Final = [bytes((length + 2, 0x32, length)) for length in range(_SHORT)]
"""What stands before an array or map of that length as the value of a `KeyValue`."""
_ARRAY_INT: Final = [bytes((0x0A, 2, 0x18, number)) for number in range(128)]


def delimited(table: list[bytes], content: bytes) -> bytes:
    """Return a length-delimited field; `table` is `fields(tag)`."""
    size = len(content)
    return (table[size] if size < TABLE_SIZE else table[0][:-1] + varint(size)) + content


def text(table: list[bytes], value: str | None) -> bytes:
    """Return a string field; nothing for an empty string. Raises `Unusual` for what is no string."""
    if value is None or value == "":
        return b""
    if not isinstance(value, str):
        raise Unusual
    return delimited(table, utf8(value))


def utf8(value: str) -> bytes:
    """Return the bytes of a string. Raises `Unusual` for lone surrogates."""
    try:
        return str.encode(value)
    except UnicodeEncodeError:
        raise Unusual from None


def any_value(value: Any, depth: int = 0) -> bytes:
    """Return the content of an `AnyValue`, byte for byte what the stock encoder makes of `value`."""
    kind = type(value)
    if kind is str:
        return delimited(_VALUES, utf8(value))
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind is int:
        return b"\x18" + varint64(value)
    if kind is float:
        return b"!" + pack_double(value)
    if value is None:
        return b""
    if kind is bytes:
        return delimited(_BYTES, value)
    if kind is tuple or kind is list:
        return delimited(_ARRAY, _array(value, depth + 1))
    if kind in _MAPPINGS:
        return delimited(_MAP, _MAP_ITEMS.encode(value, depth + 1))
    if isinstance(value, str):
        return delimited(_VALUES, utf8(value))
    raise Unusual


def _array(values: Sequence[Any], depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise Unusual
    parts: list[bytes] = []
    append = parts.append
    for value in values:
        kind = type(value)
        if kind is str:
            data = value.encode()
            if (size := len(data)) < _SHORT:
                append(_ARRAY_TEXT[size])
                append(data)
                continue
        elif kind is int and 0 <= value < 128:
            append(_ARRAY_INT[value])
            continue
        append(delimited(_VALUES, any_value(value, depth)))
    return b"".join(parts)


class _Key:
    """An attribute name, and the beginnings or the whole of fields with it."""

    __slots__ = ("double", "false", "known", "prefixes", "start", "true")

    def __init__(self, table: list[bytes], name: str) -> None:
        key = delimited(_VALUES, utf8(name)) if name else b""
        self.start = key + b"\x12"
        self.true = delimited(table, self.start + b"\x02\x10\x01")
        self.false = delimited(table, self.start + b"\x02\x10\x00")
        self.double = delimited(table, self.start + b"\x09!" + bytes(8))[:-8]
        self.known: dict[str | int, bytes] | None = {}
        """Value → the whole field; `None` for an attribute that has too many, or long ones."""
        self.prefixes: dict[int, bytes] = {}
        """Length of a text → everything before it."""


class Attributes:
    """A repeated `KeyValue` field with this tag.

    What is slow about attributes is that there are so many of them, with few names and often few values.
    """

    def __init__(self, tag: int) -> None:
        self._table = fields(tag)
        self._keys: dict[str, _Key] = {}

    def encode(self, items: Mapping[str, Any] | None, depth: int = 0) -> bytes:
        """Return the fields; raises `Unusual` for anything that the stock encoder had better look at."""
        if type(items) is BoundedAttributes:
            items = items._dict  # its own iterator makes two Python calls an item
        elif type(items) is not dict:
            if not items:
                return b""
            if type(items) not in _MAPPINGS:
                raise Unusual
        if depth > MAX_DEPTH:
            raise Unusual
        parts: list[bytes] = []
        append = parts.append
        keys = self._keys
        value: Any
        try:
            for name, value in items.items():
                try:
                    key = keys[name]
                except KeyError:
                    key = self._key(name)
                kind = type(value)
                if kind is str:
                    known = key.known
                    if known is not None:
                        append(known.get(value) or self._new(key, known, value))
                        continue
                    data = value.encode()
                    size = len(data)
                    append(key.prefixes.get(size) or self._prefix(key, size))
                    append(data)
                elif kind is bool:
                    append(key.true if value else key.false)
                elif kind is int and (known := key.known) is not None:
                    append(known.get(value) or self._new(key, known, value))
                elif kind is float:
                    append(key.double)
                    append(pack_double(value))
                elif kind is tuple or kind is dict:
                    if kind is tuple:
                        data, heads = _array(value, depth + 1), _ARRAY_VALUE
                    else:
                        data, heads = _MAP_ITEMS.encode(value, depth + 1), _MAP_VALUE
                    start = key.start
                    if (size := len(data)) < _SHORT and len(start) <= 2 * MAX_LENGTH:
                        append(self._table[len(start) + size + 3])
                        append(start)
                        append(heads[size])
                        append(data)
                    else:
                        field = delimited(_ARRAY if kind is tuple else _MAP, data)
                        append(delimited(self._table, start + varint(len(field)) + field))
                else:
                    append(self._field(key, value, depth))
        except UnicodeEncodeError:
            raise Unusual from None
        return b"".join(parts)

    def _key(self, name: Any) -> _Key:
        if type(name) is not str:
            raise Unusual
        key = _Key(self._table, name)
        if len(name) <= MAX_LENGTH:
            if len(self._keys) >= MAX_KEYS:
                self._keys.clear()
            self._keys[name] = key
        return key

    def _new(self, key: _Key, known: dict[str | int, bytes], value: str | int) -> bytes:
        field = self._field(key, value, 0)
        if len(field) <= 2 * MAX_LENGTH and len(known) < MAX_VALUES:
            known[value] = field
        else:
            key.known = None
        return field

    def _prefix(self, key: _Key, size: int) -> bytes:
        """Return what stands before a text of `size` bytes."""
        prefix = self._field(key, "x" * size, 0)[: -size or None]
        if len(key.prefixes) < MAX_PREFIXES:
            key.prefixes[size] = prefix
        return prefix

    def _field(self, key: _Key, value: Any, depth: int) -> bytes:
        content = any_value(value, depth)
        return delimited(self._table, key.start + varint(len(content)) + content)


class Prefixes(dict[int, bytes]):
    """Length of a text in bytes → what stands before it in an attribute of this name; made when it is asked for."""

    def __init__(self, attributes: Attributes, name: str) -> None:
        self._attributes = attributes
        self._name = name

    def __missing__(self, size: int) -> bytes:
        prefix = self._attributes.encode({self._name: "x" * size})[: -size or None]
        if len(self) < MAX_PREFIXES:
            self[size] = prefix
        return prefix


_MAP_ITEMS: Final = Attributes(0x0A)
