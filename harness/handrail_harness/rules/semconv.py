"""The invariant `conventions`, and its one table: names, kinds and attributes of spans as CONVENTIONS has them.

Attribute names come from `handrail_propagation.conventions`. docs/semconv/ says the same of the `agent.*` ones as a
registry for OpenTelemetry's Weaver; a test compares the two. Nothing is asked of a server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from handrail_harness.printable import printable
from handrail_harness.rules.attributes import AGENT_ATTRIBUTES, PythonTypes
from handrail_harness.rules.base import Place
from handrail_harness.rules.facts import Facts
from handrail_harness.rules.roles import Role
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


def conventions(facts: Facts) -> Iterator[Place]:
    """Every span that a convention of ours is about follows it; `agent.*` attributes are what they say they are."""
    roles = facts.roles
    for span in facts.spans:
        attributes = span.attributes
        shape = _shape(roles[id(span)], span.kind, span.scope_name == OUR_SCOPE, tuple(attributes))
        # Nearly every span passes these comparisons; what is wrong is worked out only for those that do not.
        suspect = bool(shape.wrong)
        for key, values in shape.listed:
            value = attributes[key]
            if type(value) is not str or value not in values:
                suspect = True
        for key, types, most in shape.typed:
            value = attributes[key]
            if type(value) not in types or (most and len(value) > most):  # type: ignore[arg-type]
                suspect = True
        for key in shape.lists:
            value = attributes[key]
            if type(value) is not list or not all(type(one) is str for one in value):
                suspect = True
        convention = shape.convention
        if convention is not None:
            if span.status_code != "unset" or shape.has_error_type:
                suspect = True
            elif convention.named_after is not None:
                value = attributes.get(convention.named_after)
                named_after = value if type(value) is str else ""
                if not _name_fits(span.name, named_after, convention.operations):
                    suspect = True
        if suspect:
            for wrong in _all_wrong(span, shape):
                yield Place(span, wrong, (span,))


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is known of all spans with the same role, kind, scope and attributes: of a million spans, a few dozen.

    `listed` are attributes of ours with a list of values, `lists` those that are a list of strings, `typed` the
    others with their Python types and, of a text that is bounded, the most characters (0: not bounded).
    """

    convention: SpanConvention | None
    wrong: tuple[str, ...]
    listed: tuple[tuple[str, frozenset[str]], ...]
    lists: tuple[str, ...]
    typed: tuple[tuple[str, PythonTypes, int], ...]
    has_error_type: bool


@lru_cache(maxsize=4096)
def _shape(role: Role, kind: SpanKind, ours: bool, keys: tuple[str, ...]) -> _Shape:
    convention = CONVENTIONS.get(role)
    ours_here = [(key, AGENT_ATTRIBUTES[key]) for key in keys if key in AGENT_ATTRIBUTES]
    listed = tuple((key, frozenset(one.values)) for key, one in ours_here if one.values)
    lists = tuple(key for key, one in ours_here if one.type == "string[]")
    typed = tuple(
        (key, one.python_types, one.most or 0)
        for key, one in ours_here
        if not one.values and one.type != "string[]"
    )
    wrong: list[str] = []
    if convention is not None:
        if kind not in convention.kinds:
            wrong.append(f"is of kind {kind}; a {role} span is {' or '.join(convention.kinds)}")
        required = dict.fromkeys(
            convention.required
            + (convention.ours if ours else ())
            + (convention.on_client if kind == "client" else ())
        )
        wrong += [f"attribute {key} is missing" for key in required if key not in keys]
    return _Shape(convention, tuple(wrong), listed, lists, typed, c.ERROR_TYPE in keys)


def _all_wrong(span: Span, shape: _Shape) -> Iterator[str]:
    yield from shape.wrong
    attributes = span.attributes
    for key, value in attributes.items():
        if key in AGENT_ATTRIBUTES and (problem := AGENT_ATTRIBUTES[key].wrong_with(value)) is not None:
            yield f"{key} {problem}"
    convention = shape.convention
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
    elif shape.has_error_type:
        yield f"{c.ERROR_TYPE} on a span that did not fail"


@lru_cache(maxsize=4096)
def _name_fits(name: str, value: str, operations: tuple[str, ...]) -> bool:
    # Without the value, the operation alone is the name (GenAI and messaging conventions, span name).
    operation, _, rest = name.partition(" ")
    return operation in operations and (not value or rest == value)
