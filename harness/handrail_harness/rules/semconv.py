"""The invariant `conventions`, and its one table: names, kinds and attributes of spans as CONVENTIONS has them.

Attribute names come from `handrail_propagation.conventions`. docs/semconv/ says the same of the `agent.*` ones as a
registry for OpenTelemetry's Weaver; a test compares the two. Nothing is asked of a server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from handrail_harness.printable import printable
from handrail_harness.rules.attributes import AGENT_ATTRIBUTES, Attribute
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
    for span in facts.spans:
        role = facts.role(span)
        for wrong in (*_of_span(span, role), *_of_attributes(span)):
            yield Place(span, wrong, (span,))


def _of_span(span: Span, role: Role) -> Iterator[str]:
    convention = CONVENTIONS.get(role)
    if convention is None:
        return
    attributes = span.attributes
    if span.kind not in convention.kinds:
        yield f"is of kind {span.kind}; a {role} span is {' or '.join(convention.kinds)}"
    required = convention.required
    if span.scope_name == OUR_SCOPE:
        required += convention.ours
    if span.kind == "client":
        required += convention.on_client
    for key in required:
        if attributes.get(key) in (None, ""):
            yield f"attribute {key} is missing"
    if convention.named_after is not None and not _name_fits(span, convention):
        name = printable(span.name, 60)
        yield f"is named {name!r}; the convention is {'|'.join(convention.operations)} and {convention.named_after}"
    if span.status_code == "ok":
        yield "status is OK; it is left unset unless something failed"
    failed = span.status_code == "error"
    if failed and not attributes.get(c.ERROR_TYPE):
        yield f"failed without {c.ERROR_TYPE}"
    elif not failed and c.ERROR_TYPE in attributes:
        yield f"{c.ERROR_TYPE} on a span that did not fail"


def _name_fits(span: Span, convention: SpanConvention) -> bool:
    value = span.text(convention.named_after or "")
    if not value:
        # Without the value, the operation alone is the name (GenAI and messaging conventions, span name).
        return span.name.partition(" ")[0] in convention.operations
    operation, _, rest = span.name.partition(" ")
    return operation in convention.operations and rest == value


def _of_attributes(span: Span) -> Iterator[str]:
    attributes = span.attributes
    for key in attributes.keys() & AGENT_ATTRIBUTES.keys():
        attribute = AGENT_ATTRIBUTES[key]
        if (wrong := attribute.wrong_with(attributes[key])) is not None:
            yield f"{key} {wrong}"


__all__ = ["CONVENTIONS", "OUR_SCOPE", "Attribute", "SpanConvention", "conventions"]
