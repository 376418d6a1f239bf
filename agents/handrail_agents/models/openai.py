"""Models behind the OpenAI chat API and whatever else speaks it (vLLM, Ollama, gateways)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handrail_agents.models.base import Message, Reply, ToolCall, ToolSpec
from handrail_agents.models.sdk import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    PerProcess,
    count_or_none,
    encodable,
    failures,
    garbage,
    load,
    only_our_span,
    text_or_none,
)

KEY_VARIABLE = "OPENAI_API_KEY"


class OpenAI:
    """A model of the chat completions API, such as `OpenAI("gpt-5")`; needs the extra `openai`.

    `base_url` and `api_key` default to OPENAI_BASE_URL and OPENAI_API_KEY. `timeout` is in seconds and for
    one attempt; `max_retries` more are made after connection errors, 408, 409, 429 and 5xx, with back-off and
    `Retry-After` (the SDK's policy). `max_tokens` bounds one answer, the service's limit without it.
    """

    provider = "openai"
    remote = True

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
        max_tokens: int | None = None,
    ) -> None:
        self.model = model
        self._base_url = base_url
        self._api_key = api_key
        self._timeout = timeout
        self._max_retries = max_retries
        self._max_tokens = max_tokens
        self._client = PerProcess(self._connect)

    def generate(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Reply:
        """Return the model's next turn; raises `ModelError`, `ConfigurationError` without the SDK."""
        sdk = load("openai")
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
        with failures(sdk, self.provider, self.model, KEY_VARIABLE), only_our_span():
            answer = self._client.get().chat.completions.create(**request)
        return self._reply(answer, sdk)

    def _connect(self) -> Any:
        return load("openai").OpenAI(
            base_url=self._base_url,
            api_key=self._api_key,
            timeout=self._timeout,
            max_retries=self._max_retries,
        )

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
