"""Delegation: send to the children, and leave until all of them have results.

Children are known in the journal before their messages are sent, so a message that is sent twice runs once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.trace import Link, SpanContext

from handrail_agents import outcomes
from handrail_agents.agent import Delegation
from handrail_agents.errors import ConfigurationError
from handrail_agents.journal import Invocation
from handrail_agents.outcomes import Outcome
from handrail_agents.parking import Park
from handrail_agents.sending import send_start
from handrail_propagation import conventions as names

if TYPE_CHECKING:
    from handrail_agents.run import Run

DEPTH_MAX = 32


def delegate(
    run: Run, delegations: Sequence[Delegation], reasons: Sequence[str], causes: Sequence[SpanContext | None]
) -> list[Outcome]:
    """Return the final outcomes of all delegations in order, or raise `Park` until they are there."""
    _check(run, delegations)
    step = run.next_step("delegate " + ", ".join(one.agent for one in delegations))
    children = [run.invocation.child(step, index, one.agent) for index, one in enumerate(delegations)]
    ids = [child.id for child in children]
    if run.entry(step, "children") is None:
        before = run.journal.delegate(
            run.invocation, run.holder, f"e:{step}:children", run.signed(step, json.dumps(ids)), children
        )
        if before is not None:
            run.own(step, before)
    for index, (child, delegation) in enumerate(zip(children, delegations, strict=True)):
        if run.entry(step, f"sent:{index}") is None:
            _send(run, child, delegation, reasons[index], causes[index])
            run.note(step, f"sent:{index}", "1")
    ready = run.journal.park(run.id, run.invocation.id, run.holder, ids)
    if ready is None:
        raise Park(ids)
    return [outcomes.from_text(text) for text in ready]


def _check(run: Run, delegations: Sequence[Delegation]) -> None:
    for one in delegations:
        if one.agent not in run.agent.delegates:
            raise ConfigurationError(
                f"agent {run.agent.name!r} delegates to {one.agent!r}, which is not in its delegates="
            )
    if len(run.invocation.path) >= DEPTH_MAX:
        raise ConfigurationError(
            f"agent {run.agent.name!r} is {DEPTH_MAX} delegations deep; look for agents that delegate in a circle"
        )


def _send(
    run: Run, child: Invocation, delegation: Delegation, reason: str, cause: SpanContext | None
) -> None:
    links = [Link(cause, {names.LINK_TYPE: names.LINK_CAUSED_BY_GENERATION})] if cause else None
    send_start(
        run.ops.app,
        child,
        delegation.arguments,
        queue=run.ops.queue_of(child.agent),
        reason=reason,
        links=links,
    )
