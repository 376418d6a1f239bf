"""Signs, colours and small phrases that all pictures share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from handrail_harness.findings.base import Severity
from handrail_harness.printable import printable

RISK_STYLES = {
    "read": "dim",
    "write": "cyan",
    "external": "yellow",
    "access_change": "magenta",
    "destructive": "red",
}
SEVERITY_STYLES: dict[Severity, str] = {
    "critical": "bold red",
    "high": "red",
    "medium": "yellow",
    "low": "dim",
}
DISPOSITION_STYLES = {
    "executed": "",
    "awaiting_approval": "bold yellow",
    "in_doubt": "bold magenta",
}


@dataclass(frozen=True, slots=True)
class Signs:
    """The characters that pictures are drawn with."""

    wrong: str
    warning: str
    good: str
    waiting: str
    path: str
    handoff: str
    wakes: str
    step: str
    culprit: str
    dot: str
    more: str
    times: str
    fork: str
    last: str
    through: str
    none: str


UNICODE = Signs("✗", "!", "✓", "◷", "┃", "⇢", "↩", "▸", "◀", "·", "…", "×", "├─", "└─", "│ ", "—")  # noqa: RUF001
ASCII = Signs("X", "!", "+", "?", "|", "=>", "<=", ">", "<", "-", "...", "x", "|-", "`-", "| ", "-")


def signs_for(console: Console) -> Signs:
    """Return the signs that the console's encoding has."""
    return UNICODE if console.encoding.lower().replace("-", "").startswith("utf") else ASCII


def shown(text: object, limit: int, signs: Signs) -> str:
    """Return text out of a trace as `printable` makes it, and in ASCII where the console has no more."""
    safe = printable(text, limit)
    return safe if signs is UNICODE else safe.encode("ascii", "backslashreplace").decode("ascii")


def duration(nanoseconds: int) -> str:
    """Return a length of time as a person reads it; hostile clocks give `?`."""
    if not 0 <= nanoseconds < 10**9 * 86_400 * 365:
        return "?"
    for unit, size in (("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("min", 60_000_000_000)):
        if nanoseconds >= 2 * size:
            return f"{nanoseconds / size:.1f} {unit}"
    if nanoseconds >= 10**9:
        return f"{nanoseconds / 10**9:.2f} s"
    return f"{nanoseconds / 10**6:.0f} ms" if nanoseconds >= 10**6 else f"{nanoseconds / 10**3:.0f} µs"


def moment(unix_nano: int) -> str:
    """Return a time in UTC to the second; hostile clocks give the bare number."""
    try:
        return f"{datetime.fromtimestamp(unix_nano / 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{unix_nano} ns"


def count(number: int, noun: str) -> str:
    """Return `1 span`, `2 spans`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def joined(parts: list[Text], signs: Signs) -> Text:
    """Join the parts that have something in them with a dot."""
    return Text(f" {signs.dot} ", style="dim").join(part for part in parts if part.plain)
