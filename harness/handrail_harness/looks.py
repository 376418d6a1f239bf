"""What spans look like: everything that only a few dozen in a million differ in, told once, when a span is made.

Checks sort spans by look and reason about a look once, in place of once a span.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from handrail_harness.attributes import AGENT_ATTRIBUTES, SHORT, ValueType
from handrail_harness.roles import Role, role_of
from handrail_propagation import conventions as c

TRACE_FLAGS: Final = 0xFF
"""The bits of OTLP's `Span.flags` that are the W3C trace flags."""

TELLING: Final = frozenset(
    {
        c.RUN_ID,
        c.GEN_AI_OPERATION_NAME,
        c.GEN_AI_AGENT_NAME,
        c.GEN_AI_REQUEST_MODEL,
        c.GEN_AI_TOOL_NAME,
        c.GEN_AI_DATA_SOURCE_ID,
        c.MESSAGING_OPERATION_NAME,
        c.MESSAGING_DESTINATION_NAME,
        *(key for key, attribute in AGENT_ATTRIBUTES.items() if attribute.values),
    }
)
"""Attributes that have few values in one run: spans with other values of these look different."""

_SCALARS: Final[dict[type, ValueType]] = {bool: "boolean", int: "int", float: "double"}
_MOST: Final = 4096
"""Looks that are kept, as long as a run's spans share them. A hostile trace has one a span; all it gets is that equal
looks are no longer one object."""
_LONGEST: Final = 8192
"""Characters of scope and attribute names of a look that is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What spans have in common: role, kind, scope, status, and the names and types of their attributes, in order.

    `told` has the values of the `TELLING` attributes that are strings of 1 to `SHORT` characters. `name` is that of
    spans whose role says how they are named, `None` for others and where it is longer. `plain`: the span has none of
    what most spans have not, which is an event, a status description, a tracestate or W3C flags.

    Two equal looks are nearly always the same object, and count as different where they are not.
    """

    role: Role
    kind: str
    scope: str
    status: str
    plain: bool
    name: str | None
    keys: tuple[str, ...]
    types: tuple[ValueType, ...]
    told: Mapping[str, str]

    def type_of(self, key: str) -> ValueType | None:
        """Return the type of an attribute, `None` where the spans have none of that name."""
        return self.types[self.keys.index(key)] if key in self.keys else None


def look_of(
    kind: str, scope: str, status: str, plain: bool, name: str, attributes: Mapping[str, object]
) -> Look:
    """Return the look of a span with these fields."""
    types: list[ValueType] = []
    told: list[str] = []
    for key, value in attributes.items():
        kept = type(value)
        if kept is str:
            if not value:
                types.append("empty")
            elif len(value) > SHORT:  # type: ignore[arg-type]
                types.append("text")
            else:
                types.append("string")
                if key in TELLING:
                    told.append(value)  # type: ignore[arg-type]
        elif kept is list:
            types.append("string[]" if all(type(one) is str for one in value) else "other")  # type: ignore[attr-defined]
        else:
            types.append(_SCALARS.get(kept, "other"))
    named: str | tuple[str] | None = None
    if not _NAMED_BY.isdisjoint(attributes) or kind in _NAMED_KINDS:
        named = name if len(name) <= SHORT else (name[:SHORT],)
    # Everything that the look is made of, and where the lists in it end
    known = (len(types), kind, scope, status, plain, named, *attributes, *types, *told)
    look = _LOOKS.get(known)
    if look is None:
        keys = tuple(attributes)
        telling = (key for key, one in zip(keys, types, strict=True) if one == "string" and key in TELLING)
        look = Look(
            role=role_of(kind, name, attributes),
            kind=kind,
            scope=scope,
            status=status,
            plain=plain,
            name=named if isinstance(named, str) else None,
            keys=keys,
            types=tuple(types),
            told=dict(zip(telling, told, strict=True)),
        )
        if len(scope) + sum(map(len, keys)) <= _LONGEST:
            if len(_LOOKS) >= _MOST:
                _LOOKS.clear()
            _LOOKS[known] = look
    return look


_NAMED_BY: Final = frozenset({c.GEN_AI_OPERATION_NAME, c.MESSAGING_OPERATION_NAME, c.APPROVAL_ID})
_NAMED_KINDS: Final = frozenset({"producer", "consumer"})
_LOOKS: Final[dict[tuple[object, ...], Look]] = {}
