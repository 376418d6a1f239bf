"""W3C Baggage on a message, through an allow-list: what is not on it neither goes out nor comes in.

Keeps what the stock propagator loses: properties of an entry, and `+` in a value. An entry that was removed
from the context stays away from the headers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final
from urllib.parse import quote, unquote

from opentelemetry import baggage, context
from opentelemetry.context import Context

MAX_ENTRIES: Final = 64  # W3C Baggage §3.3.2
MAX_BYTES: Final = 8192

# baggage-octet (§3.3.1.4) without the percent sign, which introduces an encoded octet
_SAFE: Final = "!#$&'()*+-./:<=>?@[]^_`{|}~"
KEY: Final = next(iter(baggage.set_baggage("any", "", Context())))
"""OpenTelemetry's own key for a context's baggage."""
_PROPERTIES: Final = context.create_key("handrail-baggage-properties")


def parse(values: Sequence[str], allowed: Collection[str], into: Context) -> Context:
    """Return `into` with the allowed entries of one or more baggage headers; malformed entries are left out.

    Of a repeated key the last entry counts. At most 64 entries and 8,192 bytes are read.
    """
    properties: dict[str, tuple[str, str]] = {}
    budget, entries = MAX_BYTES, 0
    for value in values:
        head = value[: budget + 1]
        members = head.split(",")
        if len(head) > budget or len(head) < len(value):
            members.pop()  # cut through the middle of an entry
        budget -= len(head)
        for member in members:
            entries += 1
            if entries > MAX_ENTRIES:
                break
            pair, _, rest = member.partition(";")
            key, equals, text = pair.partition("=")
            key = key.strip(" \t")
            if not equals or key not in allowed or not member.isascii():
                continue  # §3.3.1: of ASCII; what is not is percent-encoded
            decoded = unquote(text.strip(" \t"), errors="replace")
            into = baggage.set_baggage(key, decoded, into)
            if rest:
                properties[key] = (decoded, rest)
    return context.set_value(_PROPERTIES, properties, into) if properties else into


def format(where: Context | None, allowed: Collection[str]) -> str:
    """Return the baggage header of a context within the limits, `""` when it has no allowed entry."""
    present = baggage.get_all(where)
    if not present:
        return ""
    properties = context.get_value(_PROPERTIES, where)
    members: list[str] = []
    length = 0
    for key in allowed:
        value = present.get(key)
        if not isinstance(value, str):
            continue
        member = f"{key}={quote(value, safe=_SAFE)}"
        kept = properties.get(key) if isinstance(properties, dict) else None
        if kept is not None and kept[0] == value:
            member = f"{member};{kept[1]}"  # properties belong to the value that they came with
        if len(members) < MAX_ENTRIES and length + len(member) + 1 <= MAX_BYTES:
            members.append(member)
            length += len(member) + 1
    return ",".join(members)
