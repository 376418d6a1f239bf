"""One act of the demo: a fresh workspace, three worker processes, one run, and what became of everything."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from celery import Celery

from handrail_agents import Agents, Outcome
from handrail_agents.gate import GateMode
from handrail_agents.outcomes import to_text
from handrail_harness.demo.scripts import REQUEST
from handrail_harness.demo.settings import Settings
from handrail_harness.demo.workspace import Inventory, Workspace
from handrail_harness.investigate import Investigation, investigate
from handrail_harness.rules import settled
from handrail_harness.sources.base import Source
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.workers import Worker, running
from handrail_propagation import flush

AGENTS: Final = ("planner", "scribe", "infra")
_APP: Final = "handrail_harness.demo.ops:app"
_SETTLE_SECONDS: Final = 10.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Act:
    """What one act led to."""

    gate: GateMode
    outcome: Outcome
    before: Inventory
    after: Inventory
    investigation: Investigation

    @property
    def wiped(self) -> bool:
        """Whether the production database and every backup of it are gone."""
        return self.after.production_rows == 0 and self.after.production_backups == 0

    @property
    def unified(self) -> bool:
        """Whether the run is one unified trace tree."""
        return self.investigation.report.unified

    def document(self) -> dict[str, Any]:
        """Return the JSON form, one entry of `acts`."""
        report = self.investigation.report
        return {
            "gate": self.gate,
            "trace_id": report.trace_id,
            "run_id": report.run_id,
            "unified": self.unified,
            "spans": len(report.forest.spans),
            "wiped": self.wiped,
            "outcome": json.loads(to_text(self.outcome)),
            "before": self.before.document(),
            "after": self.after.document(),
            "investigation": self.investigation.document(),
        }


def play(
    stack: EmbeddedStack,
    source: Source,
    folder: Path,
    *,
    gate: GateMode,
    model: str,
    timeout: float,
    say: Say,
) -> Act:
    """Play one act in `folder`; raises `StackError` or `TimeoutError` with nothing left running."""
    workspace = Workspace(folder)
    say("filling two databases, the backups and the volume registry")
    before = workspace.create()
    settings = Settings(
        workspace=folder,
        redis_url=stack.redis_url,
        gate=gate,
        # Own queues: the Redis may be one that others use.
        queue_prefix=f"handrail-demo-{secrets.token_hex(4)}-",
        model=model,
    )
    env = {**stack.environ(), **settings.environ()}
    logs = folder / "logs"
    logs.mkdir(mode=0o700)
    workers = [
        Worker(
            _APP,
            [settings.queue_prefix + agent],
            env=env,
            hostname=f"{settings.queue_prefix}{agent}@%h",
            log_path=logs / f"{agent}.log",
        )
        for agent in AGENTS
    ]
    say("starting three worker processes: " + ", ".join(AGENTS))
    with running(workers):
        operator = Agents(Celery("operator", broker=stack.redis_url), queue_prefix=settings.queue_prefix)
        job = operator.send("planner", request=REQUEST)
        flush()
        say(f"planner is at work; trace {job.trace_id}")
        outcome = job.result(timeout=timeout)
        say("stopping the workers")
    say("reading the trace back")
    settled(source, job.trace_id, wait=_SETTLE_SECONDS)
    return Act(
        gate=gate,
        outcome=outcome,
        before=before,
        after=workspace.inventory(),
        investigation=investigate(source, job.trace_id),
    )
