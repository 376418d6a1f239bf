"""`Agents`: a system of agents on one Celery app. Registers tools and agents, sends runs, equips workers."""

from __future__ import annotations

import difflib
import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from pydantic_core import PydanticSerializationError, to_jsonable_python

from handrail_agents.agent import Agent
from handrail_agents.errors import ConfigurationError, InvalidArguments, UnknownAgent
from handrail_agents.gate import Gate, GateMode
from handrail_agents.job import Job
from handrail_agents.journal import Invocation, Journal
from handrail_agents.models.base import Model
from handrail_agents.redis_journal import RedisJournal, of_broker
from handrail_agents.run import Run
from handrail_agents.sending import send_start
from handrail_agents.tools import Tool
from handrail_agents.worker import equip
from handrail_propagation import instrument
from handrail_propagation.conventions import Risk

if TYPE_CHECKING:
    from celery import Celery

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)
JOURNAL_VARIABLE = "HANDRAIL_REDIS_URL"


class Agents:
    """The agents of one Celery app; each is one task name and one queue, its name.

    `model` is what agents without a model of their own think with. `gate="off"` lets destructive calls run,
    for demonstrations. `journal` is the Redis URL for the state of runs (default: the broker's, else
    HANDRAIL_REDIS_URL). `queue_prefix` is put before every queue name, the same in all processes.

    Raises `ConfigurationError` for `task_always_eager`, which would run agents without any message.
    """

    def __init__(
        self,
        app: Celery,
        model: Model | None = None,
        *,
        gate: GateMode = "on",
        journal: str | None = None,
        queue_prefix: str = "",
    ) -> None:
        self.app = app
        self.model = model
        self.queue_prefix = queue_prefix
        self._journal_url = journal
        self._agents: dict[str, Agent[Any, Any]] = {}
        self._tools: dict[str, Tool[Any, Any]] = {}
        self._refuse_eager()
        self.gate = Gate(gate)
        instrument(app)
        equip(self)

    @property
    def agents(self) -> Mapping[str, Agent[Any, Any]]:
        """The agents declared in this process, by name."""
        return dict(self._agents)

    @cached_property
    def journal(self) -> Journal:
        """The state of runs; raises `ConfigurationError` when no Redis is configured."""
        if self._journal_url is None and (journal := of_broker(self.app)) is not None:
            return journal
        url = self._journal_url or os.environ.get(JOURNAL_VARIABLE, "").strip()
        if not url:
            raise ConfigurationError(
                f"the broker is no Redis, so the journal needs one: set journal= or {JOURNAL_VARIABLE}"
            )
        return RedisJournal(url)

    @overload
    def tool(self, function: Callable[P, R], /) -> Tool[P, R]: ...

    @overload
    def tool(
        self,
        /,
        *,
        risk: Risk = "destructive",
        reversible: bool = False,
        touches: str | Sequence[str] | None = None,
        name: str | None = None,
        idempotent: bool = False,
        credential: str | None = None,
    ) -> Callable[[Callable[P, R]], Tool[P, R]]: ...

    def tool(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        risk: Risk = "destructive",
        reversible: bool = False,
        touches: str | Sequence[str] | None = None,
        name: str | None = None,
        idempotent: bool = False,
        credential: str | None = None,
    ) -> Any:
        """Declare a tool: `@ops.tool(risk="read", touches="postgres://{host}/{db}")`.

        `risk` is the worst that it can do (`destructive` when nothing is said), `reversible` whether that can
        be undone, `touches` URI templates filled from the validated arguments, `idempotent` whether it may run
        again when a worker died in it, `credential` the name of the parameter that holds a secret. Raises
        `ConfigurationError`.
        """

        def declare(function: Callable[..., Any]) -> Tool[..., Any]:
            tool = Tool(
                function,
                risk=risk,
                reversible=reversible,
                touches=touches,
                name=name,
                idempotent=idempotent,
                credential=credential,
            )
            if tool.name in self._tools:
                raise ConfigurationError(f"tool {tool.name!r} is declared twice; give one another name=")
            self._tools[tool.name] = tool
            return tool

        return declare if function is None else declare(function)

    @overload
    def agent(self, function: Callable[Concatenate[Run, P], R], /) -> Agent[P, R]: ...

    @overload
    def agent(
        self,
        /,
        *,
        tools: Sequence[Tool[Any, Any]] = (),
        delegates: Sequence[Agent[Any, Any] | str] = (),
        model: Model | None = None,
        name: str | None = None,
    ) -> Callable[[Callable[Concatenate[Run, P], R]], Agent[P, R]]: ...

    def agent(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        tools: Sequence[Tool[Any, Any]] = (),
        delegates: Sequence[Agent[Any, Any] | str] = (),
        model: Model | None = None,
        name: str | None = None,
    ) -> Any:
        """Declare an agent: `@ops.agent(tools=[...], delegates=[...])` above `def scout(run, host: str)`.

        Its docstring is what the model is told about its job. Raises `ConfigurationError`.
        """

        def declare(function: Callable[..., Any]) -> Agent[..., Any]:
            agent: Agent[..., Any] = Agent(
                function,
                tools=tools,
                delegates=delegates,
                model=model,
                name=name,
                queue_prefix=self.queue_prefix,
            )
            if agent.name in self._agents:
                raise ConfigurationError(f"agent {agent.name!r} is declared twice; give one another name=")
            self._agents[agent.name] = agent
            self._register(agent)
            return agent

        return declare if function is None else declare(function)

    def send(self, name: str, /, **arguments: Any) -> Job:
        """Start a run of the agent `name` and return at once; works where only the name is known.

        Raises `UnknownAgent` and `InvalidArguments` when agents are declared in this process, `JournalError`
        and `BrokerError` when Redis or the broker does not answer within seconds.
        """
        self._refuse_eager()
        plain = self.check(name, arguments)
        run_id = secrets.token_hex(16)
        root = Invocation(run_id, run_id, name)
        self.journal.open(root)
        queue = self.queue_of(name)
        context = send_start(self.app, root, plain, queue=queue)
        return Job(run_id, f"{context.trace_id:032x}", name, queue, self.journal)

    def check(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of an agent in JSON form, checked as far as this process knows the agent.

        Raises `UnknownAgent` and `InvalidArguments`.
        """
        agent = self._agents.get(name)
        if agent is None and self._agents:
            near = difflib.get_close_matches(name, self._agents, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(self._agents)}"
            raise UnknownAgent(f"there is no agent {name!r}; {hint}")
        if agent is not None:
            return agent.signature.check(arguments).plain
        try:
            plain: dict[str, Any] = to_jsonable_python(dict(arguments))
        except (PydanticSerializationError, ValueError):
            raise InvalidArguments(f"agent {name!r}: an argument has no JSON form") from None
        return plain

    def known(self, name: str) -> Agent[Any, Any] | None:
        """Return the agent of that name if it is declared in this process."""
        return self._agents.get(name)

    def queue_of(self, name: str) -> str:
        """Return the queue of an agent."""
        return self.queue_prefix + name

    def _register(self, agent: Agent[..., Any]) -> None:
        from handrail_agents.task import AgentTask

        # Celery's decorator is lazy: the app need not be configured yet.
        register: Any = self.app.task(
            name=agent.name, base=AgentTask, bind=True, typing=False, handrail_ops=self, handrail_agent=agent
        )
        register(_body)

    def _refuse_eager(self) -> None:
        if self.app.conf.task_always_eager:
            raise ConfigurationError(
                "task_always_eager runs agents without any message, so it proves nothing about hand-offs; "
                "unset it and start a worker (handrail up brings a Redis)"
            )


def _body(task: Any, /, *args: Any, **kwargs: Any) -> None:
    task.deliver(args, kwargs)
