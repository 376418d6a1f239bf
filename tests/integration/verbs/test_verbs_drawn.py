"""Drawn topologies of real agents on a real Redis: without a fault nothing is found, with one exactly its finding.

Five topologies a fault, always the same ones; HANDRAIL_DRAWN=50 draws 50 new ones for each.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from handrail_agents import Done, Job
from handrail_harness.faults import Faults, Held, Message
from handrail_harness.spans import Span
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.strategies import Topology, topologies
from handrail_propagation import conventions as names

from ...support.sender import traced_sender
from .line import Line
from .verdicts import NOTHING, VERDICTS

pytestmark = pytest.mark.integration

DRAWN = os.environ.get("HANDRAIL_DRAWN", "")
AGENTS = [f"agent-{number}" for number in range(6)]
"""Of `apps/tree.py`: each agent of a topology is another one, so that a fault can be aimed at it."""
GATED = ("access_change", "destructive")


@dataclass(frozen=True)
class Drawn:
    """One topology, as arguments of its root, and the agent at which the fault bites."""

    arguments: dict[str, Any]
    agents: tuple[str, ...]
    """Every agent, the root first, each before those below it."""
    parents: tuple[str, ...]
    hit: str
    below_hit: tuple[str, ...]


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    """A root with at least one agent below it, at most six in all: the rest is cut off.

    Gated tools are left out, since nobody approves.
    """
    topology = Topology(delegates=(draw(topologies(3)),))
    numbered: list[str] = []
    below: dict[str, tuple[str, ...]] = {}

    def plan(node: Topology) -> tuple[str, dict[str, Any]]:
        name = AGENTS[len(numbered)]
        numbered.append(name)
        plans = [plan(one) for one in node.delegates if len(numbered) < len(AGENTS)]
        below[name] = tuple(numbered[numbered.index(name) + 1 :])
        return name, {"risks": [risk for risk in node.risks if risk not in GATED], "below": plans}

    _, arguments = plan(topology)
    hit = draw(st.sampled_from(numbered[1:]))
    parents = tuple(name for name in numbered if below[name])
    return Drawn(arguments, tuple(numbered), parents, hit, below[hit])


class Tree(Line):
    """The agents of `apps/tree.py` on two workers."""

    application = "tree:app"

    def begin(self, case: Drawn) -> Job:
        """Start a run."""
        return self.ops.send(case.agents[0], **case.arguments)

    def done(self, case: Drawn) -> Job:
        """Start a run and wait for its end."""
        job = self.begin(case)
        assert self.end(job) == Done("done")
        return job

    @contextmanager
    def held(self, faults: Faults, case: Drawn) -> Iterator[tuple[Held, Message, Job]]:
        """Start a run, of which the message to the agent that is hit is held in the broker until the end."""
        with faults.hold(self.queue(case.hit), workers=[self.workers[AGENTS.index(case.hit) % 2]]) as held:
            job = self.begin(case)
            (message,) = held.wait()
            yield held, message, job

    def received(self, case: Drawn, *, hit: int) -> Callable[[list[Span]], bool]:
        """Whether each agent that gets a message has received it; `hit` is how often the one that is hit has."""
        wanted = {agent: 1 for agent in case.agents if hit or agent not in (case.hit, *case.below_hit)}
        wanted |= {case.hit: hit} if hit else {}

        def whole(spans: list[Span]) -> bool:
            found = Counter(span.name.removeprefix(f"process {self.prefix}") for span in spans)
            return all(found[agent] >= least for agent, least in wanted.items())

        return whole


@pytest.fixture(scope="module")
def tree(stack: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """The agents on two workers, the same for all topologies, and a sender in this process that is traced."""
    with traced_sender(stack.otlp_endpoint):
        source = stack.source()
        tree = Tree(stack, source, tmp_path_factory.mktemp("tree"))
        try:
            for worker in (tree.launch(*AGENTS[::2]), tree.launch(*AGENTS[1::2])):
                worker.wait_ready()
            yield tree
        finally:
            tree.close()
            source.close()


def clean(tree: Tree, faults: Faults, case: Drawn) -> Job:
    """No fault."""
    return tree.done(case)


def drop_header(tree: Tree, faults: Faults, case: Drawn) -> Job:
    """The traceparent is lost in the worker that hands over."""
    faults.drop_header(task=case.hit)
    return tree.done(case)


def garble_header(tree: Tree, faults: Faults, case: Drawn) -> Job:
    """The traceparent is spoilt in the worker that hands over."""
    faults.garble_header(task=case.hit)
    return tree.done(case)


def lose_ack(tree: Tree, faults: Faults, case: Drawn) -> Job:
    """The message comes again."""
    faults.lose_ack(task=case.hit)
    return tree.done(case)


def edit(tree: Tree, faults: Faults, case: Drawn) -> Job:
    """The traceparent is changed into somebody else's on the way."""
    with tree.held(faults, case) as (held, message, job):
        held.edit(message, {names.HEADER_TRACEPARENT: tree.somebody_elses()})
    assert tree.end(job) == Done("done")
    return job


def duplicate(tree: Tree, faults: Faults, case: Drawn) -> Job:
    """The message is there twice."""
    with tree.held(faults, case) as (held, message, job):
        held.duplicate(message)
    assert tree.end(job) == Done("done")
    return job


def lose(tree: Tree, faults: Faults, case: Drawn) -> Job:
    """The message is lost in the broker, so that the run never ends."""
    with tree.held(faults, case) as (held, message, job):
        held.lose(message)
    return job


Fault = Callable[[Tree, Faults, Drawn], Job]
FAULTS: dict[Fault, int] = {
    clean: 1,
    drop_header: 1,
    garble_header: 1,
    edit: 1,
    duplicate: 2,
    lose_ack: 2,
    lose: 0,
}
"""How often each lets the message be received."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@given(case=drawn())
@settings(
    max_examples=int(DRAWN or 5),
    derandomize=not DRAWN,
    database=None,
    # A case that fails has waited for its verdict: a smaller one is not worth as long again, many times.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
def test_drawn(tree: Tree, fault: Fault, case: Drawn) -> None:
    """Whatever the topology: a clean run is one unified tree, a fault is found at its span and nowhere else."""
    with Faults(tree.stack, folder=tree.folder) as faults:
        job = fault(tree, faults, case)
        verdict = NOTHING if fault is clean else VERDICTS[fault.__name__]
        found = tree.expect(job, verdict, receipts=tree.received(case, hit=FAULTS[fault]), at=case.hit)
        if verdict.findings:
            assert {one.span.name for one in found.findings} == {f"send {tree.queue(case.hit)}"}
