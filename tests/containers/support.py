"""What the container tests share: a fleet of agents, containers of this session, and waiting for spans."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from handrail_harness.forest import Forest, build
from handrail_harness.sources import Source
from handrail_harness.stack.workers import Worker
from handrail_propagation import conventions as names

from ..support.waiting import wait_for

APPS = Path(__file__).parent / "apps"
STARTS = {"planner": 1, "scout": 1, "scribe": 3}
"""How many messages start an agent in one run of `planner`."""
WAKES = {"planner": 2, "scout": 1, "scribe": 0}
"""How many wake it after a delegation, at most: children that are quicker than the parent's parking need none."""


def our_containers() -> list[str]:
    """Names of the containers, running or not, that testcontainers started for this session."""
    from testcontainers.core.docker_client import DockerClient
    from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID

    client = DockerClient().client
    try:
        found = client.containers.list(all=True, filters={"label": f"{LABEL_SESSION_ID}={SESSION_ID}"})
        return [container.name for container in found]
    finally:
        client.close()


def docker_leftovers(project: str) -> list[str]:
    """Containers, networks and volumes of a compose project that are still there."""
    label = f"label=com.docker.compose.project={project}"
    commands = (
        ["docker", "ps", "--all", "--filter", label, "--format", "{{.Names}}"],
        ["docker", "network", "ls", "--filter", label, "--format", "{{.Name}}"],
        ["docker", "volume", "ls", "--filter", label, "--format", "{{.Name}}"],
    )
    done = [subprocess.run(command, capture_output=True, text=True, check=True) for command in commands]
    return [name for one in done for name in one.stdout.splitlines()]


class Fleet:
    """The agents of `apps/fleet.py` on queues of one test's own; `environ` points them at a stack."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self.prefix = f"fleet-{secrets.token_hex(4)}-"
        self.environ = {**environ, "TEST_QUEUE_PREFIX": self.prefix}
        self.workers: list[Worker] = []
        self._folder = folder

    def queue(self, agent: str) -> str:
        """Queue of an agent."""
        return self.prefix + agent

    def start(self, *groups: list[str]) -> None:
        """Start one prefork worker for each group of agents, all at the same time."""
        started = []
        for agents in groups:
            log = self._folder / f"worker-{len(self.workers)}.log"
            queues = [self.queue(agent) for agent in agents]
            worker = Worker("fleet:app", queues, cwd=APPS, env=self.environ, log_path=log)
            self.workers.append(worker)
            started.append(worker.launch())
        for worker in started:
            worker.wait_ready()

    def send(self, *, wait: bool) -> dict[str, str]:
        """Start a run from a process of its own; return `run_id`, `trace_id` and, with `wait`, `outcome`."""
        command = [sys.executable, "send.py", *(["wait"] if wait else [])]
        done = subprocess.run(
            command,
            cwd=APPS,
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        document: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return document

    def stop(self) -> None:
        """Stop the workers, warm, all at the same time."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(Worker.stop, self.workers))


def forest_of_run(source: Source, run_id: str, *, starts: int = sum(STARTS.values())) -> Forest:
    """Read the run, whatever traces it is in, as soon as it is closed: what was sent is received, no parent is open."""
    found: list[Forest] = []

    def closed() -> bool:
        forest = build(span for trace_id in source.traces_of_run(run_id) for span in source.spans(trace_id))
        sent, received = (
            {span.text(names.MESSAGING_MESSAGE_ID) for span in forest.spans if span.kind == kind}
            for kind in ("producer", "consumer")
        )
        found[:] = [forest]
        return len(received) >= starts and sent == received and not forest.orphans

    wait_for(closed, what=f"all {starts} starts of run {run_id}, and what follows from them")
    return found[0]


def handrail(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the `handrail` command as a user would."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("handrail")), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
