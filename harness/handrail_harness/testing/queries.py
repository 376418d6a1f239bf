"""What a run did, by kind and name: selections that never pass when they are empty, and name near misses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from handrail_harness.effects import Effect
from handrail_harness.investigate import Investigation
from handrail_harness.shapes.decisions import Decision
from handrail_harness.shapes.matching import near_misses
from handrail_harness.shapes.selection import Selection, StepSelection, along
from handrail_harness.shapes.steps import Step, Steps


class Queries(ABC):
    """The questions, for whoever has the steps and the investigation of a run."""

    @property
    @abstractmethod
    def steps(self) -> Steps:
        """The run's agents, tasks, tools and model calls, each inside the one that it was done for."""

    @property
    @abstractmethod
    def investigation(self) -> Investigation:
        """What `handrail investigate` says about the run."""

    @abstractmethod
    def _unknown_name(self, kind: str, name: str) -> str:
        """Return why there can be no step of this kind and name, `""` if there can."""

    def agents(self, name: str | None = None) -> StepSelection:
        """Agents at work, all or those of a name."""
        return self._select("agents", name, lambda step: step.kind == "agent")

    def tasks(self, name: str | None = None) -> StepSelection:
        """Celery tasks that are no agents, by task name."""
        return self._select("tasks", name, lambda step: step.kind == "task")

    def tools(self, name: str | None = None) -> StepSelection:
        """Tool calls, made or prevented."""
        return self._select("tools", name, lambda step: step.kind == "tool")

    def chats(self, name: str | None = None) -> StepSelection:
        """Model calls, by the model's name."""
        return self._select("chats", name, lambda step: step.kind == "chat")

    def handoffs(self, name: str | None = None) -> StepSelection:
        """Everything that was reached by a message, the first one included, by the name of who got it."""
        return self._select("handoffs", name, lambda step: step.handed_off)

    def decisions(self, tool: str | None = None) -> Selection[Decision]:
        """Decision records, by the tool that they are about."""
        found = [Decision.of(step) for step in self.steps.all if step.kind == "tool"]
        made = [one for one in found if one.id]
        return Selection(
            _written("decisions", tool),
            [one for one in made if tool is None or one.tool == tool],
            instead=lambda: _others("decision", tool, [one.tool for one in made]),
            known=self._unknown("tool", tool),
        )

    def effects(self, tool: str | None = None) -> Selection[Effect]:
        """Effects, done or prevented: calls above `read`, and changes that no tool declared (tool name `None`)."""
        every = self.investigation.effects
        return Selection(
            _written("effects", tool),
            [one for one in every if tool is None or one.tool_name == tool],
            instead=lambda: _others("effect", tool, [one.tool_name or one.span.name for one in every]),
            known=self._unknown("tool", tool),
        )

    def path(self, *names: str) -> StepSelection:
        """Return the steps at the end of a chain of names, each directly inside the one before."""
        if not names:
            raise ValueError("run.path() needs the name of at least one step")
        found = along(self.steps.all, names)
        ends = [step for step in self.steps.all if step.name == names[-1]]

        def instead() -> str:
            if not ends:
                return near_misses(names[-1], self.steps.all)
            return "there is " + ", ".join(dict.fromkeys(" / ".join(step.path) for step in ends))

        def known() -> str:
            return next((why for name in names if (why := self._unknown_name("step", name))), "")

        what = f"run.path({', '.join(map(repr, names))})"
        return StepSelection(what, found, instead=instead, known=known, unknown=self._unknown_name)

    def _select(self, noun: str, name: str | None, wanted: Callable[[Step], bool]) -> StepSelection:
        of_kind = [step for step in self.steps.all if wanted(step)]
        kept = [step for step in of_kind if name is None or step.name == name]

        def instead() -> str:
            return near_misses(
                name or "", of_kind or [step for step in self.steps.all if step.kind != "chat"]
            )

        return StepSelection(
            _written(noun, name),
            kept,
            instead=instead,
            known=self._unknown(noun[:-1], name),
            unknown=self._unknown_name,
        )

    def _unknown(self, kind: str, name: str | None) -> Callable[[], str]:
        return lambda: self._unknown_name(kind, name) if name is not None else ""


def _written(noun: str, name: str | None) -> str:
    return f"run.{noun}({'' if name is None else repr(name)})"


def _others(noun: str, name: str | None, there: Sequence[str]) -> str:
    if not there:
        return f"the run has no {noun}"
    import difflib

    close = difflib.get_close_matches(name or "", there, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}there is {', '.join(dict.fromkeys(there))}"
