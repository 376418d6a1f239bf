"""The `agent.*` attributes: type, allowed values and bounds of each. The registry in docs/semconv/ says the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from handrail_propagation import conventions as c

SHORT: Final = 64
"""Most characters of a value that many spans are likely to share."""

Type = Literal["string", "int", "double", "boolean", "string[]"]
"""What the value of an attribute should be."""
ValueType = Literal["empty", "string", "text", "int", "double", "boolean", "string[]", "other"]
"""What a value is; of strings `empty` has no character, `string` at most `SHORT`, `text` more."""
_PYTHON: Final[dict[Type, tuple[type, ...]]] = {
    "string": (str,),
    "int": (int,),
    "double": (float, int),
    "boolean": (bool,),
    "string[]": (list,),
}
_READ_AS: Final[dict[Type, tuple[ValueType, ...]]] = {
    "string": ("string", "text", "empty"),
    "int": ("int",),
    "double": ("double", "int"),
    "boolean": ("boolean",),
    "string[]": ("string[]",),
}


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute. `values` is every value that an enumeration has, `most` the most characters of a text."""

    type: Type
    brief: str
    values: tuple[str, ...] = ()
    most: int | None = None

    def admits(self, read_as: ValueType) -> bool:
        """Return whether a value may be of this type."""
        return read_as in _READ_AS[self.type]

    def bounds(self, read_as: ValueType) -> bool:
        """Return whether a value of this type may be too long."""
        return self.most is not None and (read_as == "text" or self.most < SHORT)

    def wrong_with(self, value: object) -> str | None:
        """Return what is wrong with a value, `None` when nothing is; the value itself is not quoted."""
        # By exact type: a boolean is no int here, and no reader makes subclasses.
        if type(value) not in _PYTHON[self.type]:
            return f"is of type {type(value).__name__}, not {self.type}"
        if isinstance(value, str):
            if self.values and value not in self.values:
                return "is none of its values"
            if self.most is not None and len(value) > self.most:
                return f"has {len(value):,} characters; {self.most} are allowed"
        elif isinstance(value, list) and not all(isinstance(one, str) for one in value):
            return f"holds something else than strings; it is {self.type}"
        return None


AGENT_ATTRIBUTES: Final[dict[str, Attribute]] = {
    c.RUN_ID: Attribute("string", "The run; independent of the trace id.", most=128),
    c.RUN_SEGMENT: Attribute("int", "Which segment of the agent's work this is, from 1."),
    c.DELEGATION_REASON: Attribute("string", "Why the caller delegates, redacted.", most=c.REASON_MAX_CHARS),
    c.DELEGATION_DEPTH: Attribute("int", "How many agents are above."),
    c.DELEGATION_PATH: Attribute("string[]", "The agents above and this one, root first."),
    c.CALLER_NAME: Attribute("string", "Who delegated."),
    c.DECISION_ID: Attribute("string", "The decision that a tool call was made on."),
    c.DECISION_INTENT: Attribute(
        "string", "What the call is to achieve, in one sentence, redacted.", most=c.INTENT_MAX_CHARS
    ),
    c.DECISION_REASONING: Attribute(
        "string", "The facts behind the call, redacted.", most=c.REASONING_MAX_CHARS
    ),
    c.DECISION_CONTEXT_SOURCE: Attribute(
        "string", "Where the trigger came from, as declared.", values=c.CONTEXT_SOURCES
    ),
    c.DECISION_OBSERVED_SOURCE: Attribute(
        "string",
        "Where the arguments came from, as observed.",
        values=(*c.CONTEXT_SOURCES, "model_generated"),
    ),
    c.DECISION_SOURCE_VERDICT: Attribute(
        "string", "Whether what was observed bears out what was declared.", values=c.SOURCE_VERDICTS
    ),
    c.DECISION_RISK: Attribute(
        "string", "The higher of the registered and the declared risk.", values=c.RISKS
    ),
    c.DECISION_DECLARED_RISK: Attribute(
        "string", "The declared risk, where it differs from the effective one.", values=c.RISKS
    ),
    c.DECISION_REVERSIBLE: Attribute("boolean", "Whether the effect can be undone."),
    c.TOOL_DISPOSITION: Attribute("string", "What became of the call.", values=c.DISPOSITIONS),
    c.TOOL_RESULT_STATUS: Attribute("string", "How the tool ended.", values=c.RESULT_STATUSES),
    c.TOOL_TOUCHES: Attribute("string[]", "URIs of the resources that the call touches."),
    c.TOOL_ARGS_DIGEST: Attribute(
        "string", "SHA-256 of the canonical (RFC 8785) validated arguments, in hex.", most=64
    ),
    c.TOOL_CREDENTIAL_ID: Attribute("string", "Fingerprint of the credential used; never the credential."),
    c.APPROVAL_ID: Attribute("string", "The request for approval."),
    c.APPROVAL_OUTCOME: Attribute("string", "What came of the request for approval."),
    c.APPROVAL_APPROVER: Attribute("string", "Who answered it."),
    c.APPROVAL_WAIT: Attribute("double", "Seconds that the call waited for the answer."),
    c.ABANDONED: Attribute("boolean", "The process died before the span ended."),
    c.ABANDONED_REASON: Attribute("string", "How the process ended."),
    c.RECORD_ID: Attribute(
        "string", "Writer and number of the spool record that it was forwarded from; the same on every copy."
    ),
    c.GATE: Attribute("string", "Whether the gate was switched off.", values=("off",)),
    c.LINK_TYPE: Attribute(
        "string",
        "What a link stands for.",
        values=(
            c.LINK_CREATION_CONTEXT,
            c.LINK_CAUSED_BY_GENERATION,
            c.LINK_INFORMED_BY,
            c.LINK_PREVIOUS_SEGMENT,
            c.LINK_WOKEN_BY,
            c.LINK_RETRY_OF,
            c.LINK_PREDECESSOR,
            c.LINK_CLAIMED,
        ),
    ),
    c.MESSAGE_ATTEMPT: Attribute("int", "Which attempt at its message a delivery is, from 1."),
    c.MESSAGE_REDELIVERED: Attribute(
        "boolean", "Whether the broker says that it delivers the message again."
    ),
    c.MESSAGE_ENQUEUED_AT: Attribute("string", "When the message was sent (ISO 8601)."),
    c.MESSAGE_QUEUE_WAIT: Attribute("double", "Seconds between sending (or the ETA) and receipt."),
    c.MESSAGE_INTENDED_DELAY: Attribute("double", "Seconds that the sender asked the message to wait."),
    c.MESSAGE_TRACEPARENT: Attribute(
        "string",
        "Why the traceparent that the message had is not the span's parent.",
        values=(c.TRACEPARENT_UNPARSABLE, c.TRACEPARENT_NOT_TRUSTED),
    ),
    c.MESSAGE_ROOT_ID: Attribute("string", "Celery's root id of the message."),
    c.MESSAGE_PARENT_ID: Attribute("string", "Celery's parent id of the message."),
}
"""Every attribute of ours by name."""
