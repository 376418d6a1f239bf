"""Models behind the OpenAI chat API and whatever else speaks it (vLLM, Ollama, gateways)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handrail_agents.models.base import Message, Reply, ToolCall, ToolSpec
from handrail_agents.models.remote import RemoteModel
from handrail_agents.models.sdk import count_or_none, encodable, garbage, text_or_none


class OpenAI(RemoteModel):
    """A model of the chat completions API, such as `OpenAI("gpt-5")`; needs the extra `openai`.

    `base_url` and `api_key` default to OPENAI_BASE_URL and OPENAI_API_KEY, `max_tokens` to the service's limit.
    For the rest see `RemoteModel`.
    """

    provider = "openai"
    key_variable = "OPENAI_API_KEY"

    def _connect(self, sdk: Any, connection: dict[str, Any]) -> Any:
        return sdk.OpenAI(**connection)

    def _request(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self.model, "messages": [_turn(message) for message in messages]}
        if self._max_tokens is not None:
            request["max_completion_tokens"] = self._max_tokens
        if tools:
            request["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.parameters,
                    },
                }
                for tool in tools
            ]
        return request

    def _ask(self, client: Any, request: dict[str, Any]) -> Any:
        return client.chat.completions.create(**request)

    def _reply(self, answer: Any, sdk: Any) -> Reply:
        choices = getattr(answer, "choices", None)
        if (
            not isinstance(answer, sdk.types.chat.ChatCompletion)
            or not isinstance(choices, list)
            or not choices
        ):
            raise garbage(self.provider, self.model, "something without choices")
        message = getattr(choices[0], "message", None)
        if message is None:
            raise garbage(self.provider, self.model, "a choice without a message")
        calls: list[ToolCall] = []
        asked = getattr(message, "tool_calls", None) or []
        if not isinstance(asked, list):
            raise garbage(self.provider, self.model, "tool calls that are no list")
        for call in asked:
            function = getattr(call, "function", None)
            name, identifier = getattr(function, "name", None), getattr(call, "id", None)
            arguments = getattr(function, "arguments", None)
            if not isinstance(name, str) or not isinstance(identifier, str) or not isinstance(arguments, str):
                raise garbage(self.provider, self.model, "a tool call without a name, id or arguments")
            calls.append(ToolCall(encodable(identifier), encodable(name), arguments))
        content = text_or_none(getattr(message, "content", None)) or ""
        usage = getattr(answer, "usage", None)
        reasons = [text_or_none(getattr(choice, "finish_reason", None)) for choice in choices]
        return Reply(
            message=Message("assistant", encodable(content), tuple(calls)),
            finish_reasons=tuple(reason for reason in reasons if reason is not None),
            input_tokens=count_or_none(getattr(usage, "prompt_tokens", None)),
            output_tokens=count_or_none(getattr(usage, "completion_tokens", None)),
            response_id=text_or_none(getattr(answer, "id", None)),
            response_model=text_or_none(getattr(answer, "model", None)),
        )


def _turn(message: Message) -> dict[str, Any]:
    content = encodable(message.content)
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": content}
    turn: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        turn["content"] = content or None
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": encodable(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return turn
