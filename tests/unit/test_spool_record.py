"""The spool's frame: what is written is read, and what was damaged is named and costs nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handrail_propagation.spool.record import (
    HEADER_SIZE,
    MAGIC,
    MAX_PAYLOAD,
    Damage,
    Kind,
    Record,
    pack,
    scan,
)

WRITER = 0x0123456789ABCDEF


def _frames(payloads: list[bytes]) -> list[bytes]:
    return [pack(Kind.LOG, WRITER, number, payload) for number, payload in enumerate(payloads, start=1)]


def _records(items: list[Record | Damage]) -> list[Record]:
    return [item for item in items if isinstance(item, Record)]


def _damages(items: list[Record | Damage]) -> list[Damage]:
    return [item for item in items if isinstance(item, Damage)]


@given(
    st.sampled_from(list(Kind)),
    st.integers(0, 0xFFFF),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=300),
)
def test_a_record_is_read_as_it_was_written(
    kind: Kind, origin: int, dropped: int, writer: int, sequence: int, payload: bytes
) -> None:
    """Every field and every byte of the payload comes back, and the id names writer and number."""
    frame = pack(kind, writer, sequence, payload, origin=origin, dropped=dropped)
    (record,) = scan(frame, base=7)
    assert record == Record(kind, origin, dropped, writer, sequence, payload, 7, 7 + len(frame))
    assert record.id == f"{writer:016x}-{sequence}"


def test_the_checksum_is_crc32c() -> None:
    """A reader in another language can check a frame: CRC32C (RFC 3720) over header and payload."""
    frame = pack(Kind.WRITER, 1, 1, b"123456789")
    covered = frame[: HEADER_SIZE - 4] + frame[HEADER_SIZE:]
    crc = 0xFFFFFFFF
    for byte in covered:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    assert frame[HEADER_SIZE - 4 : HEADER_SIZE] == (crc ^ 0xFFFFFFFF).to_bytes(4, "little")


def test_a_torn_tail_is_a_fragment_at_every_length() -> None:
    """Wherever the last write broke off, the records before it are whole and the rest is one fragment."""
    first, last = _frames([b"decision", b"the call that did the damage"])
    for cut in range(1, len(last)):
        items = list(scan(first + last[:cut]))
        assert [record.sequence for record in _records(items)] == [1]
        assert [(damage.reason, damage.offset, damage.end) for damage in _damages(items)] == [
            ("fragment", len(first), len(first) + cut)
        ]


def test_a_flipped_bit_costs_one_record_at_every_place() -> None:
    """Whichever bit flips, only its record is lost, and the damage says where."""
    frames = _frames([b"one", b"two two", b"three"])
    start, end = len(frames[0]), len(frames[0] + frames[1])
    whole = b"".join(frames)
    for bit in range(start * 8, end * 8):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        items = list(scan(bytes(data), writer=WRITER))
        assert [record.sequence for record in _records(items)] == [1, 3]
        assert [(damage.offset, damage.end) for damage in _damages(items)] == [(start, end)]


def test_neighbouring_damages_are_told_apart() -> None:
    """Two damaged records side by side are two, as long as their headers can be believed."""
    frames = [bytearray(frame) for frame in _frames([b"one", b"two", b"three"])]
    frames[1][-1] ^= 1
    frames[2][-1] ^= 1
    items = list(scan(b"".join(frames)))
    assert [(damage.reason, damage.sequence) for damage in _damages(items)] == [
        ("checksum", 2),
        ("checksum", 3),
    ]


def test_what_a_newer_version_wrote_is_stepped_over() -> None:
    """A frame of an unknown version or kind is checked, named with its number, and nothing behind it is lost."""
    from handrail_propagation.spool import record

    header = record.pack_fields(MAGIC, 9, Kind.LOG, 0, 3, 0, WRITER, 2)
    newer = header + record.pack_crc(record.extend(record.value(header), b"new")) + b"new"
    first, third = _frames([b"one", b"", b"three"])[::2]
    items = list(scan(first + newer + pack(77, WRITER, 3, b"?") + third))
    assert [(damage.reason, damage.sequence) for damage in _damages(items)] == [
        ("unknown_version", 2),
        ("unknown_kind", 3),
    ]
    assert len(_records(items)) == 2


def test_another_writers_record_does_not_count() -> None:
    """A record that was copied into a foreign segment is damage there, not a record."""
    items = list(scan(pack(Kind.LOG, 1, 1, b""), writer=2))
    assert [damage.reason for damage in _damages(items)] == ["foreign_writer"]


def test_a_payload_above_the_limit_is_refused() -> None:
    """The writer refuses what the reader would not believe."""
    with pytest.raises(ValueError, match="limit"):
        pack(Kind.LOG, 1, 1, b"x" * (MAX_PAYLOAD + 1))


@settings(max_examples=300)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60), st.builds(lambda p: pack(Kind.LOG, 5, 9, p), st.binary(max_size=20))
        )
    )
)
def test_any_bytes_are_accounted_for(parts: list[bytes]) -> None:
    """Whatever the file holds, reading ends, raises nothing, and covers every byte exactly once."""
    data = b"".join(parts)
    here = 0
    for item in scan(data):
        assert item.offset == here
        assert item.end > here
        here = item.end
    assert here == len(data)
