"""A prefork worker with agents whose pool children are killed again and again, and in the end the whole worker."""

from __future__ import annotations

import os
import random
import time

import pytest

from handrail_harness.forest import build
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.workers import Worker
from handrail_propagation import conventions as names
from handrail_propagation.spool.accounting import account

from ...faults.report import figure
from ...support.processes import kill
from .conftest import Keeping
from .test_forward_workers import arrived, wait_until

pytestmark = pytest.mark.integration

SEED = 20261125


def _kill_at_work(keeping: Keeping, running: Worker, chance: random.Random) -> None:
    """Kill one pool child, at a random instant after the pool has made another effect."""
    before = len(keeping.done("note"))
    wait_until(lambda: len(keeping.done("note")) > before, "another effect")
    time.sleep(chance.random() * 0.05)
    children: list[int] = []
    wait_until(lambda: children.extend(running.pool_pids()) or children != [], "a pool child")
    kill([chance.choice(children)])


def test_kills_of_a_real_pool_lose_nothing(keeping: Keeping, stack: EmbeddedStack) -> None:
    """Twelve pool children and a main process are killed at work: every effect arrives and is accounted for.

    HANDRAIL_FAULT_KILLS=300 for the long form.
    """
    kills = int(os.environ.get("HANDRAIL_FAULT_KILLS", "12"))
    chance = random.Random(SEED)
    keeping.forward_to(stack.otlp_endpoint)
    running = keeping.worker("keeper", concurrency=4)
    # A killed run is in doubt, or goes on elsewhere: enough of them for every kill
    jobs = [keeping.ops.send("keeper", times=400) for _ in range(8 + 2 * kills)]
    for _ in range(kills):
        _kill_at_work(keeping, running, chance)
    kill((running.pid, *running.pool_pids()))
    running.stop()
    before = account(keeping.spool).total
    assert before.is_exact
    keeping.worker("nobody").stop()
    spans, total = arrived(stack, jobs), account(keeping.spool).total
    once = {span.span_id for span in spans}
    effects = set(keeping.done("note"))
    assert len(once) == len(spans)
    assert effects <= once
    assert [span for span in spans if span.span_id in effects and not span.text(names.DECISION_INTENT)] == []
    assert build(spans).orphans == ()
    assert total.is_exact
    assert (total.pending, total.dropped) == (0, 0)
    # The kernel may break off a write() at the end of a page when its process is killed: one torn tail each
    assert total.quarantined <= kills
    figure(
        "kill of a real pool",
        kills=kills + 5,
        seed=SEED,
        effects=len(effects),
        lost=len(effects - once),
        records=total.recorded,
        quarantined=total.quarantined,
    )
