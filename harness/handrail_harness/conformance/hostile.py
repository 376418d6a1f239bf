"""Headers that somebody might send to hurt a consumer: each shape in any size.

What has to hold for them: the task runs, and reading them costs no more than reading ordinary ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_GOOD: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

Hostile = Callable[[int], dict[Any, Any]]
"""Makes the headers; its argument is about how many characters they have, of pairs a hundredth of it."""


def _pairs(size: int) -> dict[Any, Any]:
    return {f"header-{number}": "x" for number in range(size // 100)} | {"traceparent": _GOOD}


SHAPES: Final[dict[str, Hostile]] = {
    "long traceparent": lambda size: {"traceparent": "0" * size},
    "dashes": lambda size: {"traceparent": _GOOD.replace("00-", "cc-", 1) + "-" * size},
    "long tracestate": lambda size: {"traceparent": _GOOD, "tracestate": "a=1," * (size // 4)},
    "empty members": lambda size: {"traceparent": _GOOD, "tracestate": "," * min(size, 16_000)},
    "many members": lambda size: {
        "traceparent": _GOOD,
        "tracestate": ",".join(f"k{n}=1" for n in range(5_000))[:16_000],
    },
    "long baggage": lambda size: {"baggage": "agent.run.id=1," * (size // 15)},
    "baggage of commas": lambda size: {"baggage": "," * size},
    "long properties": lambda size: {"baggage": "agent.run.id=1;" + "p" * size},
    "percent signs": lambda size: {"baggage": "agent.run.id=" + "%" * size},
    "bytes": lambda size: {"traceparent": b"\xff" * size, "baggage": b"\xfe" * size},
    "list": lambda size: {
        "traceparent": [_GOOD] * size,
        "tracestate": ["a=1"] * 32,
        "baggage": ["x" * size] * 32,
    },
    "pairs": _pairs,
    "nested pairs": lambda size: {"headers": _pairs(size)},
    "long names": lambda size: {"T" * size: _GOOD},
    "not texts": lambda size: {"traceparent": size, "tracestate": {"a": "1"}, "baggage": [size], size: None},
    "lone surrogates": lambda size: {"traceparent": "\udcff" * size, "baggage": "agent.run.id=\udcff"},
    "long lineage": lambda size: {"root_id": "r" * size, "parent_id": "\udcff" * size, "eta": "e" * size},
    "long message header": lambda size: {
        "handrail_message": {"from": "0" * size, "retry_of": ["x"] * 100, "attempt": 1 << 80, "at": "now"}
    },
}
