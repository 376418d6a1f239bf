"""What acts on rules inside of a producer or worker. A worker loads it with `celery worker -I` of this module.

Without HANDRAIL_FAULTS_DIR, importing it changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery.signals import task_prerun, worker_process_init

from handrail_harness.faults.inside import acks, clock, headers, instrumentation
from handrail_harness.faults.rules import FOLDER_VARIABLE, OWN_VARIABLE, Rule, Rules

__all__ = ["act", "act_in_producer"]


def act_in_producer(rules: Rules) -> Callable[[], None]:
    """Let the rules about messages out act in this process; returns what undoes that."""
    return headers.install(rules)


def act(rules: Rules, own: frozenset[str]) -> None:
    """Let all rules act in this worker for the rest of its life; `own` are the ids of those about it alone."""
    headers.install(rules)
    acks.install(rules)
    mine = [rule for rule in rules.read() if rule.id in own]
    offset = sum(rule.offset_ns for rule in mine if rule.kind == "clock")
    if offset:
        clock.shift(offset)
        # Modules that the app imports later, or in the children only
        _keep(worker_process_init, lambda **_: clock.shift(offset))
    if any(rule.kind == "uninstrumented" for rule in mine):
        instrumentation.remove()
        _keep(worker_process_init, lambda **_: instrumentation.remove())
    if mine:
        _keep(task_prerun, lambda **about: _bite(rules, mine, about))


def _keep(signal: Any, receiver: Callable[..., None]) -> None:
    signal.connect(receiver, weak=False)


def _bite(rules: Rules, mine: list[Rule], about: dict[str, Any]) -> None:
    for rule in mine:
        rules.claim(
            rule, task=str(getattr(about.get("sender"), "name", "")), message=str(about.get("task_id", ""))
        )


if folder := os.environ.get(FOLDER_VARIABLE, "").strip():
    act(Rules(Path(folder)), frozenset(os.environ.get(OWN_VARIABLE, "").split(",")))
