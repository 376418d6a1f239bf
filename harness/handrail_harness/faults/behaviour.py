"""What a destination may do with an export, as OTLP allows it or not (OTLP specification, "OTLP/HTTP Response").

Said in HTTP's words; a destination over gRPC translates them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One way to treat a request; the default is the right one."""

    takes: bool = True
    """Whether its records are kept; that and the answer need not agree."""
    status: int = 200
    retry_after: str = ""
    """Value of the header Retry-After: seconds or an HTTP date (RFC 9110, section 10.2.3)."""
    body: bytes | None = None
    """Instead of the response that OTLP asks for."""
    rejects: int = 0
    """How many records, from the first, are refused for good in a partial success."""
    delay: float = 0.0
    """Seconds until the answer; the records are kept at once."""
    answers: bool = True
    """Without, the connection is closed and nothing said."""


ACCEPT: Final = Behaviour()
THROTTLE: Final = Behaviour(takes=False, status=429, retry_after="1")
UNAVAILABLE: Final = Behaviour(takes=False, status=503)
GARBAGE: Final = Behaviour(takes=False, body=b"<html>Please log in</html>")
"""Status 200 and a page: a portal or proxy in between that has kept nothing."""
PARTIAL: Final = Behaviour(rejects=1)
SLOW: Final = Behaviour(delay=1.0)
TWICE: Final = Behaviour(status=503)
"""The records are kept, and the answer says that they were not: they come again."""
HANG_UP: Final = Behaviour(answers=False)
"""The records are kept, and the connection ends before the answer."""
SILENT: Final = Behaviour(takes=False, delay=float("inf"))
"""Never answered."""
REFUSE: Final = Behaviour(takes=False, status=400)
"""Refused for good: not to be sent again."""
