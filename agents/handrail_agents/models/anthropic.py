"""Models behind the Anthropic Messages API, through the official SDK."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from handrail_agents import strict_json
from handrail_agents.models.base import Message, Reply, ToolCall, ToolSpec
from handrail_agents.models.remote import RemoteModel
from handrail_agents.models.sdk import count_or_none, encodable, garbage, text_or_none
from handrail_agents.strict_json import StrictJSONError

_MAX_TOKENS: Final = 4096
"""The API wants a bound."""


class Anthropic(RemoteModel):
    """A model of the Messages API, such as `Anthropic("claude-sonnet-4-5")`; needs the extra `anthropic`.

    `base_url` and `api_key` default to ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY, `max_tokens` to 4,096. For the
    rest see `RemoteModel`.
    """

    provider = "anthropic"
    key_variable = "ANTHROPIC_API_KEY"

    def _connect(self, sdk: Any, connection: dict[str, Any]) -> Any:
        # Its own spans have other names and status OK, and it sends trace context along: ADR 0003.
        return sdk.Anthropic(**connection, open_telemetry=False)

    def _request(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "max_tokens": _MAX_TOKENS if self._max_tokens is None else self._max_tokens,
            "messages": _turns(messages),
        }
        system = encodable("\n\n".join(message.content for message in messages if message.role == "system"))
        if system:
            request["system"] = system
        if tools:
            request["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
                for tool in tools
            ]
        return request

    def _ask(self, client: Any, request: dict[str, Any]) -> Any:
        return client.messages.create(**request)

    def _reply(self, answer: Any, sdk: Any) -> Reply:
        if not isinstance(answer, sdk.types.Message) or not isinstance(
            getattr(answer, "content", None), list
        ):
            raise garbage(self.provider, self.model, "something that is no message")
        texts: list[str] = []
        calls: list[ToolCall] = []
        for block in answer.content:
            kind = getattr(block, "type", None)
            if kind == "text" and isinstance(block.text, str):
                texts.append(encodable(block.text))
            elif kind == "tool_use":
                name, identifier = getattr(block, "name", None), getattr(block, "id", None)
                if not isinstance(name, str) or not isinstance(identifier, str):
                    raise garbage(self.provider, self.model, "a tool call without a name or id")
                arguments = json.dumps(getattr(block, "input", None))
                calls.append(ToolCall(encodable(identifier), encodable(name), arguments))
        stop = text_or_none(getattr(answer, "stop_reason", None))
        usage = getattr(answer, "usage", None)
        return Reply(
            message=Message("assistant", "".join(texts), tuple(calls)),
            finish_reasons=() if stop is None else (stop,),
            input_tokens=_count(
                usage, "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"
            ),
            output_tokens=_count(usage, "output_tokens"),
            response_id=text_or_none(getattr(answer, "id", None)),
            response_model=text_or_none(getattr(answer, "model", None)),
        )


def _count(usage: Any, *fields: str) -> int | None:
    """Sum the fields that are numbers: cached tokens are reported beside `input_tokens`, not within."""
    numbers = [n for field in fields if (n := count_or_none(getattr(usage, field, None))) is not None]
    return sum(numbers) if numbers else None


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the conversation in the API's form: results of tools are blocks of the next user turn."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += _blocks(message)
        else:
            turns.append({"role": role, "content": _blocks(message)})
    return turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [
            {
                "type": "tool_result",
                "tool_use_id": message.tool_call_id,
                "content": encodable(message.content),
            }
        ]
    text = encodable(message.content)
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    return blocks + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)}
        for call in message.tool_calls
    ]


def _input(arguments: str) -> dict[str, Any]:
    """Return a call's arguments as the API wants them back; what was no JSON object was refused anyway."""
    try:
        value = strict_json.loads(arguments)
    except StrictJSONError:
        return {}
    return value if isinstance(value, dict) else {}
