"""A hypothesis strategy of delegation trees: agents that call tools and delegate, drawn as clean runs."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from .runs import RunBuilder

RISKS = ("read", "write", "external", "access_change", "destructive")

agents: st.SearchStrategy[Any] = st.recursive(
    st.lists(st.sampled_from(RISKS), max_size=3).map(lambda risks: (tuple(risks), ())),
    lambda inner: st.tuples(
        st.lists(st.sampled_from(RISKS), max_size=3).map(tuple), st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=6,
)


def draw_run(topology: Any) -> RunBuilder:
    """Return the clean run of a topology, with one of everything in it that a fault may want to break."""
    run = RunBuilder()

    def work(risks: tuple[str, ...], delegates: tuple[Any, ...]) -> None:
        chat = run.chat()
        for risk in risks:
            run.call(f"{risk}_tool", risk, asked_by=chat)
        for at, below in enumerate(delegates):
            with run.handoff(f"agent-{at}", "because"):
                work(*below)

    with run.handoff("root"):
        with run.handoff("always"):
            run.call("look", "read", asked_by=run.chat())
            run.call("drop", "destructive", asked_by=run.chat())
        work(*topology)
    return run
