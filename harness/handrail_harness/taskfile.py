"""A task file of `handrail run`: which agent of which module to start with which arguments (YAML)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from handrail_propagation.errors import HandrailError

_BYTES_MAX: Final = 1 << 20


class BadTaskFile(HandrailError):
    """The task file cannot be used; it needs `agents`, `agent` and `arguments`."""


class TaskFile(BaseModel):
    """One run. `agents` is MODULE:ATTRIBUTE as seen from the file's folder, `timeout` in seconds.

    With `workers: false` only the request is sent, to workers and a broker that are there already.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    agents: Annotated[str, Field(min_length=1)]
    agent: Annotated[str, Field(min_length=1)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    timeout: Annotated[float, Field(gt=0)] = 600.0
    workers: bool = True

    @classmethod
    def read(cls, path: Path) -> TaskFile:
        """Read and check a file; raises `BadTaskFile` in one line."""
        try:
            with path.open("rb") as file:
                data = file.read(_BYTES_MAX + 1)
        except OSError as error:
            raise BadTaskFile(f"{path} cannot be read: {error.strerror or error}") from error
        if len(data) > _BYTES_MAX:
            raise BadTaskFile(f"{path} is larger than {_BYTES_MAX:,} bytes; it is no task file")
        try:
            document = yaml.safe_load(data)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            where = getattr(error, "problem_mark", None)
            place = f", line {where.line + 1}" if where is not None else ""
            raise BadTaskFile(f"{path}{place} is not YAML") from error
        if not isinstance(document, dict):
            raise BadTaskFile(f"{path} is no mapping; it needs agents:, agent: and arguments:")
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(str(part) for part in entry['loc'])}: {entry['msg']}"
                for entry in error.errors(include_url=False, include_context=False, include_input=False)[:6]
            )
            raise BadTaskFile(f"{path}: {wrong}") from error
