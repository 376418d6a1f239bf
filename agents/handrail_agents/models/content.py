"""Prompts and answers as log-based events, where content capture is on (`EVENT_ONLY`); nothing otherwise.

The JSON form is that of the GenAI conventions. Everything is redacted before it is recorded, and nothing of it
ever becomes a span attribute.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry._logs import SeverityNumber

from handrail_propagation import conventions as names
from handrail_propagation import emit_event, telemetry
from handrail_propagation.redaction import MASK, redact_value

if TYPE_CHECKING:
    from handrail_agents.models.base import Message, Reply, ToolSpec

_log = logging.getLogger(__name__)

CONTENT_MAX_CHARS: Final = 131_072
"""So much of one attribute is recorded; a longer conversation loses its oldest turns."""

# The conventions' names for why a model stopped, by the providers' own
_FINISHED: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_call",
    "tool_calls": "tool_call",
    "refusal": "content_filter",
}


def record_chat(
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    reply: Reply | None,
    attributes: Mapping[str, Any],
) -> None:
    """Emit what a model was asked and what it answered, in the current span's context.

    `attributes` are those of the `chat` span; `reply` is `None` when there was no answer; the credentials of
    `tools` are left out. Never raises.
    """
    _record(names.EVENT_INFERENCE_DETAILS, attributes, lambda: _conversation(messages, tools, reply))


def record_arguments(
    attributes: Mapping[str, Any], arguments: Mapping[str, Any], *, credential: str | None
) -> None:
    """Emit the arguments of a tool call, in the current span's context, before anything runs.

    `attributes` say which call it is; the argument named `credential` is left out. Never raises.
    """
    _record(
        names.EVENT_TOOL_CONTENT,
        attributes,
        lambda: {names.GEN_AI_TOOL_CALL_ARGUMENTS: _without(credential, dict(arguments))},
    )


def record_result(attributes: Mapping[str, Any], result: Any) -> None:
    """Emit what a tool returned (JSON form) in the current span's context. Never raises."""
    _record(names.EVENT_TOOL_CONTENT, attributes, lambda: {names.GEN_AI_TOOL_CALL_RESULT: result})


def _record(event: str, attributes: Mapping[str, Any], content: Callable[[], Mapping[str, Any]]) -> None:
    if telemetry.config().capture_content != "EVENT_ONLY":
        return
    try:
        redacted = {name: _redacted(value) for name, value in content().items()}
    except Exception as error:  # noqa: BLE001 - telemetry must not fail the work that it describes
        _log.warning("the content of %s could not be recorded (%s)", event, type(error).__name__)
        return
    # Without span=: the bridge for stores without logs would put the content on the span.
    emit_event(event, {**attributes, **redacted}, severity=SeverityNumber.DEBUG)


def _redacted(value: Any) -> Any:
    if isinstance(value, list):
        # The newest first: what does not fit any more is the beginning of a conversation.
        return redact_value(value[::-1], CONTENT_MAX_CHARS)[::-1]
    return redact_value(value, CONTENT_MAX_CHARS)


def _conversation(
    messages: Sequence[Message], tools: Sequence[ToolSpec], reply: Reply | None
) -> dict[str, Any]:
    credentials = {tool.name: tool.credential for tool in tools if tool.credential is not None}
    system = [_text(message.content) for message in messages if message.role == "system"]
    turns = [_turn(message, credentials) for message in messages if message.role != "system"]
    found: dict[str, Any] = {names.GEN_AI_INPUT_MESSAGES: turns}
    if system:
        found[names.GEN_AI_SYSTEM_INSTRUCTIONS] = system
    if reply is not None:
        answer = {**_turn(reply.message, credentials), "finish_reason": _finished(reply)}
        found[names.GEN_AI_OUTPUT_MESSAGES] = [answer]
    return found


def _turn(message: Message, credentials: Mapping[str, str]) -> dict[str, Any]:
    if message.role == "tool":
        part = {"type": "tool_call_response", "id": message.tool_call_id, "response": _value(message.content)}
        return {"role": "tool", "parts": [part]}
    parts = [_text(message.content)] if message.content else []
    for call in message.tool_calls:
        arguments = _without(credentials.get(call.name), _value(call.arguments))
        parts.append({"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments})
    return {"role": message.role, "parts": parts}


def _without(credential: str | None, arguments: Any) -> Any:
    if credential is None:
        return arguments
    if not isinstance(arguments, dict):
        return MASK  # where in a malformed call the credential stands cannot be told
    return {name: MASK if name == credential else value for name, value in arguments.items()}


def _text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


def _value(text: str) -> Any:
    """Return what a JSON text says, else the text: names in it tell the redaction what is a secret."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _finished(reply: Reply) -> str:
    reason = reply.finish_reasons[0] if reply.finish_reasons else "error"
    return _FINISHED.get(reason, reason)
