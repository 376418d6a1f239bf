"""JSON from outside (models, message headers), read strictly: what is ambiguous is an error.

Python's `json` keeps the last of two equal keys, accepts NaN, and recurses to death on deep input.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

MAX_CHARS: Final = 262_144
MAX_DEPTH: Final = 32


class StrictJSONError(ValueError):
    """The text is not JSON with one meaning."""


def loads(text: str, *, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value of a JSON text (RFC 8259, with the recommendations of RFC 7493, I-JSON).

    Raises `StrictJSONError`, without quoting the text, for: more than `max_chars` characters, more than
    `max_depth` levels, duplicate keys, NaN and infinities (also by overflow), lone surrogates, anything after
    the value.
    """
    if len(text) > max_chars:
        raise StrictJSONError(f"longer than {max_chars} characters")
    if _depth(text) > max_depth:
        raise StrictJSONError(f"nested deeper than {max_depth} levels")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
        # An escaped lone surrogate has no UTF-8 form: no header, digest or span could carry it.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except StrictJSONError:
        raise
    except json.JSONDecodeError as error:
        raise StrictJSONError(f"not JSON: {error.msg} at character {error.pos}") from None
    except UnicodeEncodeError:
        raise StrictJSONError("a lone surrogate in a string") from None
    return value


def _depth(text: str) -> int:
    depth = deepest = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise StrictJSONError("the same key twice in one object")
    return found


def _constant(name: str) -> Any:
    raise StrictJSONError(f"{name} is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise StrictJSONError("a number out of range")
    return value


def _int(text: str) -> int:
    if len(text) > 400:
        raise StrictJSONError("a number out of range")
    return int(text)
