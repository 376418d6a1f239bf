"""The one choke point through which text goes before it is recorded anywhere.

Layers, surest first: this process's own secrets, PEM blocks, passwords in URLs, known token shapes,
`key=value`, then long words that look random. Ordinary prose, trace ids, UUIDs and digests pass: a tool that
masks those is switched off by its users.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from itertools import pairwise
from math import log2
from typing import Any, Final

MASK: Final = "[redacted]"
_SLACK: Final = 4096  # characters looked at beyond the limit, since masking shortens a text

_SENSITIVE_NAME: Final = (
    r"[\w.-]{0,40}?(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|signing[_-]?key|encryption[_-]?key|credentials?|auth(?:orization)?|session[_-]?id|cookie)"
)
_RULES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (
        re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL),
        MASK,
    ),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,100}):[^\s/@]{1,300}@"), rf"\1:{MASK}@"),
    (re.compile(r"(?i)\b(bearer|basic|digest)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    (
        re.compile(
            r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS access key ids
            r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
            r"|\bxox[abeoprs]-[\w-]{10,}|\b[spr]k[-_](?:[a-z]+[-_])*[A-Za-z0-9_-]{16,}"
            r"|\bAIza[\w-]{30,}|\bya29\.[\w-]{20,}|\bhf_[A-Za-z0-9]{20,}|\bnpm_[A-Za-z0-9]{20,}"
            r"|\bpypi-[\w-]{20,}|\bSG\.[\w-]{16,}\.[\w-]{16,}|\bdop_v1_[0-9a-f]{32,}|\bshp(?:at|ss|ca|pa)_[0-9a-f]{20,}"
            r"|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"  # JSON web tokens
        ),
        MASK,
    ),
    (
        # key=value, key: value, "key": "value", --key value; not a key that ends a sentence
        re.compile(
            rf"""(?ix)(--{_SENSITIVE_NAME}(?:\s+|=) |
            (?<![\w-])["']?{_SENSITIVE_NAME}["']?\s*(?::=|=>|[=:])\s*) (?: "[^"]{{1,400}}" | '[^']{{1,400}}' |
            [^\s"',;&)\]}}]{{1,400}} )"""
        ),
        rf"\1{MASK}",
    ),
)
_SENSITIVE_KEY: Final = re.compile(rf"(?i){_SENSITIVE_NAME}")
_KEY_MAX_CHARS: Final = 128
_DEPTH_MAX: Final = 32
_WORD: Final = re.compile(r"[A-Za-z0-9+=_-]{20,}")
_PLAIN_ID: Final = re.compile(
    r"[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9A-F]{32}|[0-9A-F]{64}"
    r"|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}|[0-9]+"
)
_DROPPED: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_SENSITIVE_VARIABLE: Final = re.compile(
    r"(?i)pass|pwd|secret|token|api_?key|access_?key|private_?key|credential"
)
_URL_PASSWORD: Final = re.compile(r"://[^\s/:@]*:([^\s/@]+)@")


def redact(text: str, limit: int) -> str:
    """Return `text` without secrets and control characters, at most `limit` characters long.

    Secrets become `[redacted]`; line breaks become spaces; a text that was cut ends in `…`. Time is linear in
    `limit`, however long `text` is.
    """
    if limit <= 0:
        return ""
    seen = text[: limit + _SLACK]
    if len(seen) < len(text):
        # A secret that the cut went through would no longer be recognised: leave its rest out.
        head, space, _ = seen.rpartition(" ")
        seen = head if space and len(head) > limit else seen[:limit]
    # Invisible characters go first, or they would hide a secret from the rules; lone surrogates cannot be
    # exported.
    seen = _DROPPED.sub("", seen).encode("utf-8", "replace").decode("utf-8")
    for secret in _own_secrets():
        seen = seen.replace(secret, MASK)
    for pattern, replacement in _RULES:
        seen = pattern.sub(replacement, seen)
    seen = _WORD.sub(lambda match: MASK if _looks_random(match.group()) else match.group(), seen)
    seen = " ".join(seen.split())
    cut = len(seen) > limit or len(text) > limit + _SLACK
    return seen[: limit - 1] + "…" if cut else seen


def redact_value(value: Any, limit: int) -> Any:
    """Return a JSON value of the same shape with every string in it redacted.

    What stands under a name such as `password` or `api_key` becomes `[redacted]`, whatever it is. `limit` bounds
    the characters of all strings and the number of all items together; what is beyond it, deeper than 32 levels
    or no JSON becomes `…`.
    """
    return _Values(limit).redacted(value, _DEPTH_MAX)


class _Values:
    """How much room is left while one value is redacted."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def redacted(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left <= 0 or depth <= 0:
            return "…"
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str):
            text = redact(value, self._left)
            self._left -= len(text)
            return text
        if isinstance(value, dict):
            found: dict[str, Any] = {}
            for key, item in value.items():
                if self._left <= 0:
                    break
                name = redact(str(key), _KEY_MAX_CHARS)
                self._left -= len(name)
                sensitive = item is not None and _SENSITIVE_KEY.fullmatch(str(key)[: 2 * _KEY_MAX_CHARS])
                found[name] = MASK if sensitive else self.redacted(item, depth - 1)
            return found
        if isinstance(value, (list, tuple)):
            items: list[Any] = []
            for item in value:
                if self._left <= 0:
                    items.append("…")
                    break
                items.append(self.redacted(item, depth - 1))
            return items
        return "…"


def _looks_random(word: str) -> bool:
    """Whether a word of 20 or more characters looks like key material rather than a name or an id."""
    if _PLAIN_ID.fullmatch(word):
        return False
    longest = max(re.split(r"[-_=+]", word), key=len)
    if len(longest) < 12:
        return False  # a name put together from words, or a dated or numbered one
    classes = (
        any(char.isdigit() for char in longest),
        any(char.islower() for char in longest),
        any(char.isupper() for char in longest),
    )
    if not classes[0] or not (classes[1] or classes[2]):
        # Without digits: CamelCase names change case a few times, base64 changes it all the time.
        changes = sum(a.islower() and b.isupper() for a, b in pairwise(longest))
        return len(longest) >= 24 and changes * 4 >= len(longest) * 0.8
    switches = sum(a.isdigit() != b.isdigit() for a, b in pairwise(longest))
    return switches >= 3 and _entropy(longest) >= 3.0


def _entropy(word: str) -> float:
    """Shannon entropy in bits per character."""
    size = len(word)
    return -sum((n := word.count(char)) / size * log2(n / size) for char in set(word))


@lru_cache(maxsize=1)
def _own_secrets() -> tuple[str, ...]:
    """Secrets in this process's environment, longest first: masked whatever they look like."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if (
            _SENSITIVE_VARIABLE.search(name)
            and len(value) >= 8
            and not value.isdigit()
            and "/" not in value[:1]
        ):
            found.add(value)
        found.update(password for password in _URL_PASSWORD.findall(value) if len(password) >= 6)
    return tuple(sorted(found, key=len, reverse=True))
