"""What a span is, told by its kind and its operation: the rows of CONVENTIONS' table of spans.

Works on spans of any instrumentation that follows the messaging and GenAI conventions, not only on ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from handrail_propagation import conventions as c

Role = Literal[
    "delegation",
    "send",
    "process",
    "agent",
    "chat",
    "tool",
    "retrieval",
    "memory",
    "embeddings",
    "approval",
    "settle",
    "other",
]

_OPERATIONS: Final[dict[str, Role]] = {
    c.OPERATION_CHAT: "chat",
    "text_completion": "chat",
    "generate_content": "chat",
    c.OPERATION_EXECUTE_TOOL: "tool",
    c.OPERATION_RETRIEVAL: "retrieval",
    "embeddings": "embeddings",
    "search_memory": "memory",
    "create_memory": "memory",
    "upsert_memory": "memory",
    "update_memory": "memory",
    "delete_memory": "memory",
}
_SETTLES: Final = frozenset({"ack", "nack", "reject"})
_OF_A_DELEGATION: Final = frozenset({c.DELEGATION_PATH, c.DELEGATION_DEPTH, c.DELEGATION_REASON})


def role_of(kind: str, name: str, attributes: Mapping[str, object]) -> Role:
    """Return what a span is; `other` for one that neither a message, an agent, a model nor a tool is behind."""
    if kind == "producer":
        return "send"
    if kind == "consumer":
        return "process"
    operation = attributes.get(c.GEN_AI_OPERATION_NAME)
    if operation is not None:
        if operation == c.OPERATION_INVOKE_AGENT:
            # A remote agent's own span is CLIENT, too; a delegation over a queue says where it leads.
            handed_off = kind == "client" and not _OF_A_DELEGATION.isdisjoint(attributes)
            return "delegation" if handed_off else "agent"
        return _OPERATIONS.get(operation, "other") if isinstance(operation, str) else "other"
    if c.APPROVAL_ID in attributes and name.startswith("await_approval"):
        return "approval"
    settles = attributes.get(c.MESSAGING_OPERATION_NAME) if kind == "client" else None
    return "settle" if isinstance(settles, str) and settles in _SETTLES else "other"
