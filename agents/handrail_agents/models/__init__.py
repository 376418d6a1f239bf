"""The models that agents think with: scripted, Anthropic, OpenAI-compatible. One interface (`base`)."""

from __future__ import annotations

from handrail_agents.models.anthropic import Anthropic
from handrail_agents.models.base import Message, Model, ModelError, Reply, ToolCall, ToolSpec
from handrail_agents.models.openai import OpenAI
from handrail_agents.models.scripted import Scripted, call, calls, say
from handrail_propagation.errors import ConfigurationError

__all__ = [
    "Anthropic",
    "Message",
    "Model",
    "ModelError",
    "OpenAI",
    "Reply",
    "Scripted",
    "ToolCall",
    "ToolSpec",
    "call",
    "calls",
    "open_model",
    "say",
]


def open_model(name: str) -> Model:
    """Return the model that `PROVIDER:NAME` names, such as `anthropic:claude-sonnet-4-5` or `openai:gpt-5`.

    Raises `ConfigurationError` for another provider or an empty name.
    """
    provider, _, model = name.partition(":")
    if not model or provider not in ("anthropic", "openai"):
        raise ConfigurationError(f"{name!r} names no model; write anthropic:NAME or openai:NAME")
    return Anthropic(model) if provider == "anthropic" else OpenAI(model)
