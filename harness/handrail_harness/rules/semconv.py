"""The invariant `conventions`, and its one table: names, kinds and attributes of spans as CONVENTIONS has them.

Attribute names come from `handrail_propagation.conventions`. docs/semconv/ says the same of the `agent.*` ones as a
registry for OpenTelemetry's Weaver; a test compares the two. Nothing is asked of a server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from handrail_harness.attributes import AGENT_ATTRIBUTES
from handrail_harness.identities import Positions
from handrail_harness.looks import Look
from handrail_harness.printable import printable
from handrail_harness.roles import Role
from handrail_harness.rules.base import Place
from handrail_harness.rules.facts import Facts, positions_of
from handrail_harness.rules.screened import Screened
from handrail_harness.spans import Span, SpanKind
from handrail_propagation import conventions as c

OUR_SCOPE: Final = "handrail"
"""Instrumentation scope of the spans that Handrail itself starts: more is asked of these."""


@dataclass(frozen=True, slots=True)
class SpanConvention:
    """What a span of one role looks like.

    Its name is an operation and the value of `named_after`. `required` is asked of whoever emits such a span,
    `ours` of Handrail's own in addition, `on_client` where the span's kind is CLIENT.
    """

    operations: tuple[str, ...]
    named_after: str | None
    kinds: tuple[SpanKind, ...]
    required: tuple[str, ...]
    ours: tuple[str, ...] = ()
    on_client: tuple[str, ...] = ()


_GENAI: Final = (c.GEN_AI_OPERATION_NAME,)
_PROVIDER: Final = (c.GEN_AI_PROVIDER_NAME,)
_MESSAGING: Final = (
    c.MESSAGING_SYSTEM,
    c.MESSAGING_OPERATION_NAME,
    c.MESSAGING_OPERATION_TYPE,
    c.MESSAGING_DESTINATION_NAME,
)
_EITHER: Final[tuple[SpanKind, ...]] = ("client", "internal")

CONVENTIONS: Final[dict[Role, SpanConvention]] = {
    "delegation": SpanConvention(
        (c.OPERATION_INVOKE_AGENT,),
        c.GEN_AI_AGENT_NAME,
        ("client",),
        (*_GENAI, c.GEN_AI_AGENT_NAME),
        ours=(c.RUN_ID, c.DELEGATION_DEPTH, c.DELEGATION_PATH),
        on_client=_PROVIDER,
    ),
    "send": SpanConvention(
        (c.OPERATION_SEND,),
        c.MESSAGING_DESTINATION_NAME,
        ("producer",),
        (*_MESSAGING, c.MESSAGING_MESSAGE_ID),
    ),
    "process": SpanConvention(
        (c.OPERATION_PROCESS,),
        c.MESSAGING_DESTINATION_NAME,
        ("consumer",),
        (*_MESSAGING, c.MESSAGING_MESSAGE_ID),
        ours=(c.MESSAGING_CLIENT_ID, c.MESSAGE_ATTEMPT, c.MESSAGE_REDELIVERED, c.MESSAGE_ROOT_ID),
    ),
    "agent": SpanConvention(
        (c.OPERATION_INVOKE_AGENT,),
        c.GEN_AI_AGENT_NAME,
        _EITHER,
        (*_GENAI, c.GEN_AI_AGENT_NAME),
        ours=(c.RUN_ID, c.RUN_SEGMENT, c.DELEGATION_DEPTH, c.DELEGATION_PATH),
        on_client=_PROVIDER,
    ),
    "chat": SpanConvention(
        (c.OPERATION_CHAT, "text_completion", "generate_content"),
        c.GEN_AI_REQUEST_MODEL,
        _EITHER,
        (*_GENAI, c.GEN_AI_REQUEST_MODEL),
        ours=_PROVIDER,
        on_client=_PROVIDER,
    ),
    "tool": SpanConvention(
        (c.OPERATION_EXECUTE_TOOL,),
        c.GEN_AI_TOOL_NAME,
        ("internal",),
        (*_GENAI, c.GEN_AI_TOOL_NAME),
        ours=(c.GEN_AI_AGENT_NAME, c.GEN_AI_TOOL_TYPE, c.TOOL_DISPOSITION),
    ),
    "retrieval": SpanConvention(
        (c.OPERATION_RETRIEVAL,), c.GEN_AI_DATA_SOURCE_ID, ("client",), _GENAI, on_client=_PROVIDER
    ),
    "embeddings": SpanConvention(
        ("embeddings",),
        c.GEN_AI_REQUEST_MODEL,
        _EITHER,
        (*_GENAI, c.GEN_AI_REQUEST_MODEL),
        on_client=_PROVIDER,
    ),
    "memory": SpanConvention((), None, _EITHER, _GENAI, on_client=_PROVIDER),
    "approval": SpanConvention(
        ("await_approval",), c.GEN_AI_TOOL_NAME, ("internal",), (c.APPROVAL_ID, c.APPROVAL_OUTCOME)
    ),
    "settle": SpanConvention(
        ("ack", "nack", "reject"), c.MESSAGING_DESTINATION_NAME, ("client",), _MESSAGING
    ),
}
"""The table. Spans of no role here (a database's, an HTTP client's) are under conventions of their own."""


def _unconventional(facts: Facts) -> Positions:
    found: list[int] = []
    for layout in facts.layouts:
        demands = _demands(layout.look)
        if demands.fails:
            found += layout.positions.tolist()
            continue
        for key in demands.bounded:
            wrong_with = AGENT_ATTRIBUTES[key].wrong_with
            texts = zip(layout.positions.tolist(), layout.column(key), strict=True)
            found += [at for at, text in texts if wrong_with(text) is not None]
    return positions_of(found)


def _against_conventions(facts: Facts, positions: Sequence[int]) -> Iterator[Place]:
    """Every span that a convention of ours is about follows it; `agent.*` attributes are what they say they are."""
    for position in positions:
        span = facts.spans[position]
        for wrong in _all_wrong(span, _demands(span.look)):
            yield Place(span, wrong, (span,))


conventions: Final = Screened(_unconventional, _against_conventions)


@dataclass(frozen=True, slots=True)
class _Demands:
    """What the conventions have to say of all spans of one look.

    `wrong` is said of each of them. `fails`: something is wrong with all of them, or may be. `bounded` are those of
    our attributes that may be too long.
    """

    convention: SpanConvention | None
    wrong: tuple[str, ...]
    fails: bool
    bounded: tuple[str, ...]


@lru_cache(maxsize=512)
def _demands(look: Look) -> _Demands:
    convention = CONVENTIONS.get(look.role)
    wrong: list[str] = []
    fails = False
    if convention is not None:
        if look.kind not in convention.kinds:
            wrong.append(f"is of kind {look.kind}; a {look.role} span is {' or '.join(convention.kinds)}")
        required = dict.fromkeys(
            convention.required
            + (convention.ours if look.scope == OUR_SCOPE else ())
            + (convention.on_client if look.kind == "client" else ())
        )
        wrong += [f"attribute {key} is missing" for key in required if key not in look.keys]
        fails = look.status != "unset" or c.ERROR_TYPE in look.keys or not _is_named(look, convention)
    bounded: list[str] = []
    for key, read_as in zip(look.keys, look.types, strict=True):
        attribute = AGENT_ATTRIBUTES.get(key)
        if attribute is None:
            continue
        if not attribute.admits(read_as) or (attribute.values and look.told.get(key) not in attribute.values):
            fails = True
        elif attribute.bounds(read_as):
            bounded.append(key)
    return _Demands(convention, tuple(wrong), fails or bool(wrong), tuple(bounded))


def _is_named(look: Look, convention: SpanConvention) -> bool:
    """Whether the name is sure to be the convention's."""
    key = convention.named_after
    if key is None:
        return True
    if look.name is None or look.type_of(key) == "text":
        return False
    return _name_fits(look.name, look.told.get(key, ""), convention.operations)


def _all_wrong(span: Span, demands: _Demands) -> Iterator[str]:
    yield from demands.wrong
    attributes = span.attributes
    for key, value in attributes.items():
        if key in AGENT_ATTRIBUTES and (problem := AGENT_ATTRIBUTES[key].wrong_with(value)) is not None:
            yield f"{key} {problem}"
    convention = demands.convention
    if convention is None:
        return
    named_after = convention.named_after
    if named_after and not _name_fits(span.name, span.text(named_after), convention.operations):
        name, operations = printable(span.name, 60), "|".join(convention.operations)
        yield f"is named {name!r}; the convention is {operations} and {named_after}"
    if span.status_code == "ok":
        yield "status is OK; it is left unset unless something failed"
    if span.status_code == "error":
        if not attributes.get(c.ERROR_TYPE):
            yield f"failed without {c.ERROR_TYPE}"
    elif c.ERROR_TYPE in attributes:
        yield f"{c.ERROR_TYPE} on a span that did not fail"


@lru_cache(maxsize=4096)
def _name_fits(name: str, value: str, operations: tuple[str, ...]) -> bool:
    # Without the value, the operation alone is the name (GenAI and messaging conventions, span name).
    operation, _, rest = name.partition(" ")
    return operation in operations and (not value or rest == value)
