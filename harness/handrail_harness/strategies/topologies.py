"""Hypothesis strategies of delegation topologies: agents that call tools, delegate, park and are woken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st

from handrail_harness.strategies.builder import RunBuilder, Sent
from handrail_propagation.conventions import RISKS

_TOOLS_MAX: Final = 3
_DELEGATES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Topology:
    """What one agent does: a tool call of each risk, then its delegations; `parks` while they are at work."""

    risks: tuple[str, ...] = ()
    delegates: tuple[Topology, ...] = ()
    parks: bool = False


def topologies(max_agents: int = 6) -> st.SearchStrategy[Topology]:
    """Return a strategy of delegation trees with at most about `max_agents` agents."""
    risks = st.lists(st.sampled_from(RISKS), max_size=_TOOLS_MAX).map(tuple)
    return st.recursive(
        risks.map(Topology),
        lambda inner: st.builds(
            Topology, risks, st.lists(inner, max_size=_DELEGATES_MAX).map(tuple), st.booleans()
        ),
        max_leaves=max_agents,
    )


def runs(max_agents: int = 6) -> st.SearchStrategy[RunBuilder]:
    """Return a strategy of clean runs; `run.spans` is what was exported."""
    return topologies(max_agents).map(run_of)


def run_of(topology: Topology) -> RunBuilder:
    """Return the clean run of a topology, with one of everything in it that a fault may want to break."""
    run = RunBuilder()
    with run.handoff("root"):
        with run.handoff("always"):
            run.call("look", "read", asked_by=run.chat())
            run.call("drop", "destructive", asked_by=run.chat())
        _work(run, topology)
    return run


def _work(run: RunBuilder, topology: Topology) -> None:
    """What an agent does inside its segment; delegations are nested, so this agent waits in place."""
    _calls(run, topology)
    for at, below in enumerate(topology.delegates):
        name = f"agent-{at}"
        if below.parks and below.delegates:
            _parking(run, name, below)
        else:
            with run.handoff(name, "because"):
                _work(run, below)


def _parking(run: RunBuilder, name: str, topology: Topology) -> None:
    """An agent that sends to its delegates, parks, and is woken by the last of them."""
    sent = run.delegate(name, "because")
    with run.received(sent), run.agent(name) as first:
        _calls(run, topology)
        messages = [run.delegate(f"agent-{at}", "because") for at, _ in enumerate(topology.delegates)]
    for at, (message, below) in enumerate(zip(messages, topology.delegates, strict=True)):
        wake: Sent | None = None
        with run.received(message):
            with run.agent(f"agent-{at}"):
                _work(run, below)
            if at == len(messages) - 1:
                wake = run.send(name)
        if wake is not None:
            with run.received(wake) as process, run.woken(name, 2, first, first, process):
                run.call("wrap_up", "read", asked_by=run.chat())


def _calls(run: RunBuilder, topology: Topology) -> None:
    chat = run.chat()
    for risk in topology.risks:
        run.call(f"{risk}_tool", risk, asked_by=chat)
