"""A model that says what it is told to: for tests, the demo and teaching.

The turn is chosen by how many assistant turns the conversation already has, so that a replay, or another
process that goes on with the same run, gives the same answer. No state, no clock, no randomness.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handrail_agents.models.base import Message, ModelError, Reply, ToolCall, ToolSpec


@dataclass(frozen=True, slots=True)
class Turn:
    """One scripted assistant turn: text, calls, or both."""

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    """Tool name and JSON text of the arguments, in order."""


def say(text: str) -> Turn:
    """A turn that answers in words, which ends the loop."""
    return Turn(text=text)


def call(
    tool: str,
    arguments: Mapping[str, Any] | str,
    *,
    decision: Mapping[str, Any] | None = None,
    text: str = "",
) -> Turn:
    """A turn that calls one tool; `decision` becomes the `_decision` argument.

    Arguments given as a string are sent as they are, malformed or not.
    """
    if isinstance(arguments, str):
        return Turn(text=text, calls=((tool, arguments),))
    merged = dict(arguments) if decision is None else {**arguments, "_decision": dict(decision)}
    return Turn(text=text, calls=((tool, json.dumps(merged)),))


def calls(*turns: Turn) -> Turn:
    """A turn that makes the calls of several turns at once."""
    return Turn(
        text="".join(turn.text for turn in turns), calls=tuple(one for turn in turns for one in turn.calls)
    )


@dataclass(frozen=True, slots=True)
class Scripted:
    """Plays a fixed list of turns; `ModelError` when the conversation goes on past the last one."""

    turns: Sequence[Turn]
    model: str = "scripted"
    provider: str = "handrail.scripted"
    remote: bool = False

    def generate(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Reply:
        """Return the turn that follows the assistant turns already in `messages`."""
        number = sum(1 for message in messages if message.role == "assistant")
        if number >= len(self.turns):
            raise ModelError(
                f"the script of model {self.model!r} has {len(self.turns)} turns and was asked for turn "
                f"{number + 1}: add a closing say(...)",
                error_type="script_exhausted",
            )
        turn = self.turns[number]
        asked = tuple(
            ToolCall(f"call_{number + 1}_{index + 1}", name, arguments)
            for index, (name, arguments) in enumerate(turn.calls)
        )
        return Reply(
            message=Message("assistant", turn.text, asked),
            finish_reasons=("tool_calls",) if asked else ("stop",),
            input_tokens=sum(len(message.content.split()) for message in messages),
            output_tokens=len(turn.text.split()) + sum(len(arguments.split()) for _, arguments in turn.calls),
            response_model=self.model,
        )
