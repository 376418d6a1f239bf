"""Makes text out of a trace safe to show: whoever wrote a span's name must not drive the reader's
terminal.

Everything that is not a visible character becomes an escape that can be read: control characters (C0,
DEL, C1, so that no ANSI sequence survives), line breaks, invisible and direction-changing characters,
lone surrogates.
"""

from __future__ import annotations

import unicodedata

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: object, limit: int = 200) -> str:
    """Return the text in one visible line of at most `limit` characters; a cut ends in `…`."""
    raw = text if isinstance(text, str) else str(text)
    cut = raw[: limit + 1]
    if not cut.isprintable() or len(cut) > limit:
        cut = "".join(_visible(character) for character in cut)
        if len(cut) > limit:
            cut = cut[: max(limit - 1, 0)] + "…"
    return cut


def _visible(character: str) -> str:
    if character in "\n\r":
        return "⏎" if character == "\n" else "␍"
    category = unicodedata.category(character)
    if character == "\t" or category == "Zs":
        return " "  # of whatever width
    if category not in _INVISIBLE:
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
