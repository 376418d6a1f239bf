"""What the demo's workers are told through their environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handrail_agents.gate import GateMode
from handrail_harness.stack.redis import URL_VARIABLE
from handrail_propagation import ConfigurationError

WORKSPACE_VARIABLE = "HANDRAIL_DEMO_WORKSPACE"
GATE_VARIABLE = "HANDRAIL_DEMO_GATE"
MODEL_VARIABLE = "HANDRAIL_DEMO_MODEL"
PREFIX_VARIABLE = "HANDRAIL_DEMO_QUEUE_PREFIX"


@dataclass(frozen=True, slots=True)
class Settings:
    """One act: its folder, its Redis, its gate, its queues; `model` is empty for the scripted models."""

    workspace: Path
    redis_url: str
    gate: GateMode
    queue_prefix: str
    model: str = ""

    def environ(self) -> dict[str, str]:
        """Return the variables that `from_environment` reads."""
        return {
            WORKSPACE_VARIABLE: str(self.workspace),
            URL_VARIABLE: self.redis_url,
            GATE_VARIABLE: self.gate,
            PREFIX_VARIABLE: self.queue_prefix,
            MODEL_VARIABLE: self.model,
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Return what a worker was told; raises `ConfigurationError` outside the demo."""
        missing = [name for name in (WORKSPACE_VARIABLE, URL_VARIABLE) if not environment.get(name)]
        if missing:
            raise ConfigurationError(
                f"{missing[0]} is not set: this module is the demo's; start it with `handrail demo`"
            )
        return cls(
            workspace=Path(environment[WORKSPACE_VARIABLE]),
            redis_url=environment[URL_VARIABLE],
            # Anything but the word is the safe side.
            gate="off" if environment.get(GATE_VARIABLE) == "off" else "on",
            queue_prefix=environment.get(PREFIX_VARIABLE, ""),
            model=environment.get(MODEL_VARIABLE, ""),
        )
