"""A model that is asked over the network through an official SDK: the constructor and the way of one question."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from handrail_agents.models.base import Message, Reply, ToolSpec
from handrail_agents.models.sdk import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    PerProcess,
    failures,
    load,
    only_our_span,
)


class RemoteModel(ABC):
    """What the models of all SDKs have in common.

    `base_url` and `api_key` default to the SDK's own environment variables. `timeout` is in seconds and for one
    attempt; `max_retries` more are made after connection errors, 408, 409, 429 and 5xx, with back-off and
    `Retry-After` (the SDK's policy). `max_tokens` bounds one answer.
    """

    provider: ClassVar[str]
    """Of the GenAI conventions; also the name of the SDK's package, and of the extra that brings it."""
    key_variable: ClassVar[str]
    """The environment variable that the SDK takes its key from."""
    remote: ClassVar[bool] = True

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
        self._max_tokens = max_tokens
        connection = {
            "base_url": base_url,
            "api_key": api_key,
            "timeout": timeout,
            "max_retries": max_retries,
        }
        self._client = PerProcess(lambda: self._connect(load(self.provider), connection))

    def generate(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Reply:
        """Return the model's next turn; raises `ModelError`, `ConfigurationError` without the SDK."""
        sdk = load(self.provider)
        request = self._request(messages, tools)
        with failures(sdk, self.provider, self.model, self.key_variable), only_our_span():
            answer = self._ask(self._client.get(), request)
        return self._reply(answer, sdk)

    @abstractmethod
    def _connect(self, sdk: Any, connection: dict[str, Any]) -> Any:
        """Return a client."""

    @abstractmethod
    def _request(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> dict[str, Any]:
        """Return the conversation in the API's form."""

    @abstractmethod
    def _ask(self, client: Any, request: dict[str, Any]) -> Any:
        """Send the request; return the SDK's answer, or raise what the SDK raises."""

    @abstractmethod
    def _reply(self, answer: Any, sdk: Any) -> Reply:
        """Read an answer, which may be anything; raises `ModelError`."""
