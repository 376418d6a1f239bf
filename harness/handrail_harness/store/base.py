"""What the parts of the store hand to one another: places in the raw log, records, damage.

Nothing in here knows SQLite, files or OTLP's encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple


class Kind(IntEnum):
    """Which OTLP signal a record holds. The numbers are on disk: never change one."""

    TRACES = 1
    LOGS = 2
    METRICS = 3


class Encoding(IntEnum):
    """How a record's payload is encoded: as it came over the wire. The numbers are on disk."""

    PROTOBUF = 0
    JSON = 1


class Position(NamedTuple):
    """A place in the raw log: segment number (1..) and byte offset in it. Later places compare greater."""

    segment: int
    offset: int


START = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Record:
    """One export request as it was acknowledged. `next` is the place after it."""

    kind: int
    encoding: int
    sequence: int
    received_unix_nano: int
    payload: bytes
    at: Position
    next: Position


DamageReason = Literal["header", "payload", "tail", "unreadable"]


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of the raw log that could not be used, and why. It is skipped, counted and shown.

    `header`, `payload`: bits differ from what was written; `tail`: the record is cut off; `unreadable`: the
    record is whole but not an OTLP request. `length` in bytes.
    """

    reason: DamageReason
    at: Position
    length: int
    next: Position

    def __str__(self) -> str:
        what = {
            "header": "damaged record header",
            "payload": "damaged record",
            "tail": "record cut off",
            "unreadable": "record is not an OTLP request",
        }[self.reason]
        return f"segment {self.at.segment}, byte {self.at.offset}: {what}, {self.length} bytes skipped"
