"""What a network can do to the connections on it."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Conditions:
    """The state of a network; the default does no harm. Times in seconds, sizes in bytes.

    Raises `ValueError` for negative numbers and for a bandwidth of 0 (that is `stall`).
    """

    refuse: bool = False
    """New connections are refused; those that are open go on."""
    stall: bool = False
    """Connections are accepted and stay open, and nothing gets through until that changes."""
    latency: float = 0.0
    """How long each piece of data is under way, in either direction."""
    jitter: float = 0.0
    """A random part on top of `latency`, between 0 and this; the order of bytes is kept."""
    bytes_per_second: float | None = None
    """What gets through, for each connection and direction."""
    cut_requests_after: int | None = None
    """A connection is reset when the client has sent this much; what comes before gets through."""
    cut_answers_after: int | None = None
    """A connection is reset when the target has answered this much. With 0 a request is taken, and nobody
    knows: what makes at-least-once delivery deliver twice."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None and value < 0:
                raise ValueError(f"{entry.name}={value!r}: a network has no negative {entry.name}")
        if self.bytes_per_second == 0:
            raise ValueError("bytes_per_second=0: nothing would ever get through; say stall=True")
