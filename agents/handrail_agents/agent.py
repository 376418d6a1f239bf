"""An agent: a function with tools and delegates, a task name and a queue. Registering, not running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from handrail_agents.errors import ConfigurationError
from handrail_agents.models.base import Model, ToolSpec
from handrail_agents.signatures import Signature
from handrail_agents.tools import NAME, Tool

if TYPE_CHECKING:
    from handrail_agents.run import Run

P = ParamSpec("P")
R = TypeVar("R")

DELEGATE_PREFIX: Final = "delegate_to_"


@dataclass(frozen=True, slots=True)
class Delegation:
    """A call of another agent that has not been sent yet: for `run.delegate`."""

    agent: str
    arguments: dict[str, Any]
    """In JSON form, checked when the agent is known in this process."""


class Agent(Generic[P, R]):
    """What `@ops.agent` makes of a function. Calling it gives a `Delegation`, it runs nothing."""

    def __init__(
        self,
        function: Callable[Concatenate[Run, P], R],
        *,
        tools: Sequence[Tool[Any, Any]] = (),
        delegates: Sequence[Agent[Any, Any] | str] = (),
        model: Model | None = None,
        name: str | None = None,
        queue_prefix: str = "",
    ) -> None:
        self.function = function
        self.name = name or function.__name__
        what = f"agent {self.name!r}"
        if not NAME.fullmatch(self.name):
            raise ConfigurationError(f"{what}: a name is letters, digits, - and _, at most 64")
        for tool in tools:
            if not isinstance(tool, Tool):
                raise ConfigurationError(f"{what}: {tool!r} in tools= is not a tool; put @ops.tool above it")
        self.tools = {tool.name: tool for tool in tools}
        if len(self.tools) != len(tools):
            raise ConfigurationError(f"{what}: two tools of one name in tools=")
        self.delegates = tuple(one if isinstance(one, str) else one.name for one in delegates)
        reserved = sorted(self.tools.keys() & {DELEGATE_PREFIX + one for one in self.delegates})
        if reserved:
            raise ConfigurationError(f"{what}: tool name {reserved[0]!r} is that of a delegation")
        self.model = model
        self.queue = queue_prefix + self.name
        self.description = (function.__doc__ or "").strip()
        self.signature = Signature(what, function, skip=1)
        if "self" in self.signature.parameters:
            # Celery hands a message's arguments to a method.
            raise ConfigurationError(f"{what}: a parameter cannot be named self")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Delegation:
        """Return the delegation of these arguments; raises `InvalidArguments`."""
        return self.delegation(self.signature.named(args, kwargs))

    def delegation(self, arguments: dict[str, Any]) -> Delegation:
        """Return the delegation of these named arguments; raises `InvalidArguments`."""
        return Delegation(self.name, self.signature.check(arguments).plain)


def delegation_spec(name: str, agent: Agent[Any, Any] | None) -> ToolSpec:
    """Return a delegate as a model sees it: the agent's arguments, and why it is asked."""
    schema: dict[str, Any] = agent.signature.schema if agent else {"type": "object", "properties": {}}
    return ToolSpec(
        name=DELEGATE_PREFIX + name,
        description=f"Delegate to the agent {name!r} and wait for what it returns. "
        + (agent.description if agent else ""),
        parameters={
            **schema,
            "properties": {
                **schema["properties"],
                REASON: {"type": "string", "description": "One sentence: why you delegate this."},
            },
            "required": [*schema.get("required", []), REASON],
        },
    )


REASON: Final = "_reason"
