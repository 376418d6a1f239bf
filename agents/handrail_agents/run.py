"""What an agent's function is given: tools, delegates, the model, and the journal behind each of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic_core import PydanticSerializationError, to_json

from handrail_agents import broker, contract, delegating, loop
from handrail_agents.agent import Agent, Delegation
from handrail_agents.contract import DecisionRecord
from handrail_agents.decisions import Request
from handrail_agents.errors import (
    BrokerError,
    ConfigurationError,
    HandrailError,
    InvalidArguments,
    JournalError,
    NoDecisionRecord,
    NotReplayable,
    ToolFailed,
    UnknownTool,
)
from handrail_agents.gate import Gate
from handrail_agents.journal import Invocation, Journal
from handrail_agents.models.base import Model
from handrail_agents.outcomes import Done
from handrail_agents.parking import Leave
from handrail_agents.tools import Tool
from handrail_propagation.spool import NotRecorded

if TYPE_CHECKING:
    from handrail_agents.registry import Agents

MAX_TURNS: Final = 50
T = TypeVar("T")


class Run:
    """One segment of one invocation of an agent; valid while the agent's function runs, in its thread.

    Every method is journalled: when the function is run again after a wake, calls that were completed give
    their recorded results. Code between the calls must be pure.
    """

    def __init__(
        self,
        ops: Agents,
        agent: Agent[Any, Any],
        invocation: Invocation,
        holder: str,
        entries: Mapping[str, str],
    ) -> None:
        self.agent = agent
        self.invocation = invocation
        self._ops = ops
        self._holder = holder
        self._entries = dict(entries)
        self._recorded = {
            int(key.split(":")[1]): entry for key, entry in self._entries.items() if key.startswith("e:")
        }
        """One entry of each step that an earlier segment has made."""
        self._steps: list[str] = []
        self._left: BaseException | None = None

    @property
    def id(self) -> str:
        """The run's id, 32 hex digits: `agent.run.id` on every span."""
        return self.invocation.run_id

    def call(self, tool: str | Tool[Any, Any], /, **arguments: Any) -> Any:
        """Call a tool and return its result in JSON form.

        A tool above `read` needs `_decision=DecisionRecord(...)`, too. A call that must wait for a human
        leaves the function here. Raises `UnknownTool`, `InvalidArguments`, `NoDecisionRecord`, `NotRecorded` when
        the record could not be written to the spool, and `ToolFailed` when the tool raised.
        """
        name = tool if isinstance(tool, str) else tool.name
        known = self.agent.tools.get(name)
        record = arguments.pop(contract.ARGUMENT, None)
        if record is None and known is not None and "decision" not in known.signature.parameters:
            record = arguments.pop("decision", None)
        if record is not None:
            arguments[contract.ARGUMENT] = (
                record.model_dump() if isinstance(record, DecisionRecord) else record
            )
        try:
            text = to_json(arguments).decode("utf-8")
        except (PydanticSerializationError, UnicodeError, ValueError):
            raise InvalidArguments(f"tool {name!r}: an argument has no JSON form") from None
        result = self.leaving(lambda: broker.perform(self, Request(name, text), None))
        if result.status == "ok":
            return result.value
        if result.status == "error":
            raise ToolFailed(name, result.error_type)
        raise _MISTAKES.get(result.disposition, HandrailError)(f"tool {name!r}: {result.detail}")

    def delegate(self, *delegations: Delegation, reason: str = "") -> Any:
        """Send to other agents and wait for what they return, without holding the worker.

        `delegations` are what calling a decorated agent gives; all are sent before any is waited for. One
        gives its result, several give a list in the same order. A child that failed or was refused gives its
        `Failed` or `Refused` in that place. `reason` is recorded (redacted, at most 512 characters).
        """
        if not delegations:
            return []
        if not all(isinstance(one, Delegation) for one in delegations):
            raise ConfigurationError(
                "run.delegate takes what calling an agent gives: run.delegate(scout(host=...))"
            )
        count = len(delegations)
        found = self.leaving(lambda: delegating.delegate(self, delegations, [reason] * count, [None] * count))
        values = [one.value if isinstance(one, Done) else one for one in found]
        return values[0] if count == 1 else values

    def loop(self, prompt: str, *, system: str | None = None, max_turns: int = MAX_TURNS) -> str:
        """Let the model work on `prompt` with the agent's tools and delegates; return its last words.

        `system` is added to the agent's docstring and the decision contract. Raises `TurnLimit` after
        `max_turns` model turns, `ModelError` when the model gives no answer.
        """
        return self.leaving(lambda: loop.converse(self, prompt, system, max_turns))

    # --- For the parts that a run is made of ---

    @property
    def gate(self) -> Gate:
        """The gate in force."""
        return self._ops.gate

    @property
    def ops(self) -> Agents:
        """The system that this agent belongs to."""
        return self._ops

    @property
    def journal(self) -> Journal:
        """Where the run's state is."""
        return self._ops.journal

    @property
    def holder(self) -> str:
        """The text of this segment's lease."""
        return self._holder

    @property
    def model(self) -> Model:
        """The agent's model, else that of the system; raises `ConfigurationError` when there is none."""
        model = self.agent.model or self._ops.model
        if model is None:
            raise ConfigurationError(
                f"agent {self.agent.name!r} has no model; give one to @ops.agent(model=) or Agents(model=)"
            )
        return model

    @property
    def left(self) -> BaseException | None:
        """What made the function leave, even when its own code caught that."""
        return self._left

    def leaving(self, work: Callable[[], T]) -> T:
        """Run `work`, remembering that it left the function; once left, nothing runs any more.

        A journal or broker that fails counts as leaving: what follows could not be replayed.
        """
        if self._left is not None:
            raise self._left
        try:
            return work()
        except (Leave, JournalError, BrokerError, NotReplayable) as leave:
            self._left = leave
            raise

    def next_step(self, name: str) -> int:
        """Number the next journalled call; raises `NotReplayable` when `name` is another than before a wake."""
        step = len(self._steps)
        self._steps.append(json.dumps(name[:200]))
        if step in self._recorded:
            self.own(step, self._recorded[step])
        return step

    def entry(self, step: int, key: str) -> str | None:
        """Return an entry of an earlier segment, `None` when there is none; raises `NotReplayable`."""
        stored = self._entries.get(f"e:{step}:{key}")
        return None if stored is None else self.own(step, stored)

    def record(self, step: int, key: str, text: str) -> str | None:
        """Write an entry once; return the earlier one if there is one. Raises `JournalError`."""
        before = self.journal.record(
            self.id, self.invocation.id, self._holder, f"e:{step}:{key}", self.signed(step, text)
        )
        return None if before is None else self.own(step, before)

    def note(self, step: int, key: str, text: str) -> None:
        """Write an entry once for what has already happened, even if the lease was lost meanwhile."""
        self.journal.note(self.id, self.invocation.id, f"e:{step}:{key}", self.signed(step, text))

    def signed(self, step: int, text: str) -> str:
        """Return an entry's text as it is stored: with the step's name, which a replay is compared with."""
        return f"{self._steps[step]}\n{text}"

    def own(self, step: int, stored: str) -> str:
        """Return the text of a stored entry; raises `NotReplayable` when it belongs to another call."""
        name, _, text = stored.partition("\n")
        if name != self._steps[step]:
            raise NotReplayable(
                f"agent {self.agent.name!r} asked for {self._steps[step]} where its journal has {name} (step "
                f"{step + 1}); code between journalled calls must be pure"
            )
        return text


_MISTAKES: Final[dict[str, type[HandrailError]]] = {
    "unknown_tool": UnknownTool,
    "invalid_arguments": InvalidArguments,
    "no_decision_record": NoDecisionRecord,
    "not_recorded": NotRecorded,
}
