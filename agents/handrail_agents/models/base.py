"""What an agent asks of a model and what it gets back, and the `chat` span around the question.

Values that fit any provider and a journal; no provider's SDK in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, runtime_checkable

from opentelemetry.trace import SpanContext, SpanKind, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from handrail_agents.models import content
from handrail_propagation import conventions as names
from handrail_propagation.errors import HandrailError

_ID_MAX_CHARS: Final = 256

Role = Literal["system", "user", "assistant", "tool"]


class ModelError(HandrailError):
    """The model gave no usable answer; check its name, key and base URL, and that the service is up."""

    def __init__(self, message: str | None = None, *, error_type: str = "model_error") -> None:
        super().__init__(message)
        self.error_type = error_type


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that a model asked for. `arguments` is the JSON text exactly as the model gave it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `tool_call_id` says which call a `tool` message answers."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the message as a JSON object for the journal."""
        return {
            "role": self.role,
            "content": self.content,
            "tool_calls": [
                {"id": call.id, "name": call.name, "arguments": call.arguments} for call in self.tool_calls
            ],
            "tool_call_id": self.tool_call_id,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Message:
        """Return the message that `to_json` wrote."""
        return cls(
            role=document["role"],
            content=document["content"],
            tool_calls=tuple(
                ToolCall(call["id"], call["name"], call["arguments"]) for call in document["tool_calls"]
            ),
            tool_call_id=document["tool_call_id"],
        )


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it; `parameters` is a JSON schema of an object.

    `credential` names the parameter that holds a secret; models are not told, captured content leaves it out.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer, with what the `chat` span records of it."""

    message: Message
    finish_reasons: tuple[str, ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    response_id: str | None = None
    response_model: str | None = None


@runtime_checkable
class Model(Protocol):
    """Anything that answers a conversation; `provider` is a `gen_ai.provider.name`, `model` its name."""

    @property
    def provider(self) -> str: ...

    @property
    def model(self) -> str: ...

    def generate(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Reply:
        """Return the next assistant turn; raises `ModelError`."""
        ...


def chat(
    model: Model, messages: Sequence[Message], tools: Sequence[ToolSpec], tracer: Tracer
) -> tuple[Reply, SpanContext]:
    """Ask a model inside its `chat {model}` span; return the reply and the span's context.

    The span is a CLIENT, INTERNAL for a model that runs in this process (`model.remote` is false). It
    carries usage, finish reasons, response id and model; of a failure its type only, never its text. What was
    asked and answered becomes a log-based event in its context, where content capture is on. Raises
    `ModelError`, also for a model that returns something else than a `Reply` or raises anything else;
    `ConfigurationError` when the model's SDK is missing.
    """
    remote = getattr(model, "remote", True)
    attributes: dict[str, AttributeValue] = {
        names.GEN_AI_OPERATION_NAME: names.OPERATION_CHAT,
        names.GEN_AI_PROVIDER_NAME: model.provider,
        names.GEN_AI_REQUEST_MODEL: model.model,
    }
    with tracer.start_as_current_span(
        f"{names.OPERATION_CHAT} {model.model}",
        kind=SpanKind.CLIENT if remote else SpanKind.INTERNAL,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            reply = model.generate(messages, tools)
            if not isinstance(reply, Reply):
                raise ModelError(f"model {model.model!r} returned {type(reply).__name__} instead of a Reply")
            answered = _answered(reply)
        except Exception as error:
            failure = error if isinstance(error, HandrailError) else _unexpected(model, error)
            kind = getattr(failure, "error_type", type(failure).__name__)
            span.set_attribute(names.ERROR_TYPE, kind)
            span.set_status(StatusCode.ERROR, kind)
            content.record_chat(messages, tools, None, {**attributes, names.ERROR_TYPE: kind})
            if failure is error:
                raise
            raise failure from error
        span.set_attributes(answered)
        content.record_chat(messages, tools, reply, {**attributes, **answered})
        return reply, span.get_span_context()


def _unexpected(model: Model, error: Exception) -> ModelError:
    kind = type(error).__name__
    return ModelError(
        f"model {model.model!r} failed with {kind}; run with --debug to see where", error_type=kind
    )


def _answered(reply: Reply) -> dict[str, AttributeValue]:
    """Return what the span says of an answer. The strings are a service's: bounded, and free of what no exporter
    could encode.
    """
    found: dict[str, AttributeValue] = {}
    if reply.finish_reasons:
        found[names.GEN_AI_RESPONSE_FINISH_REASONS] = [_clean(reason) for reason in reply.finish_reasons[:16]]
    if reply.response_id is not None:
        found[names.GEN_AI_RESPONSE_ID] = _clean(reply.response_id)
    if reply.response_model is not None:
        found[names.GEN_AI_RESPONSE_MODEL] = _clean(reply.response_model)
    if reply.input_tokens is not None:
        found[names.GEN_AI_USAGE_INPUT_TOKENS] = reply.input_tokens
    if reply.output_tokens is not None:
        found[names.GEN_AI_USAGE_OUTPUT_TOKENS] = reply.output_tokens
    return found


def _clean(text: str) -> str:
    return text[:_ID_MAX_CHARS].encode("utf-8", "replace").decode("utf-8")
