"""`handrail worker ops:ops`: every agent of a system, one Celery worker process each, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from handrail_harness.cli.output import stderr
from handrail_harness.errors import StackError
from handrail_harness.loading import NotLoaded, load_agents
from handrail_harness.printable import printable
from handrail_harness.stack.embedded import use_what_is_up
from handrail_harness.stack.follow import Follower
from handrail_harness.stack.reach import require_broker
from handrail_harness.stack.workers import Worker, running
from handrail_harness.store.location import DATA_DIR_VARIABLE, default_data_dir

_LINE_MAX = 4_000


def worker(
    agents: Annotated[str, typer.Argument(help="Where the agents are: MODULE:ATTRIBUTE, such as ops:ops.")],
    agent: Annotated[
        list[str] | None, typer.Option("--agent", "-a", help="Only this agent; may be repeated.")
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="Processes per agent.")] = 1,
    pool: Annotated[
        str, typer.Option("--pool", "-P", help="Celery's pool: prefork, solo, threads, gevent.")
    ] = ("prefork"),
    data_dir: Annotated[
        Path | None, typer.Option(envvar=DATA_DIR_VARIABLE, help="The stack to use if one is up.")
    ] = None,
) -> None:
    """Start a worker for every agent of a system, each on its own queue, and show their logs."""
    found = use_what_is_up(data_dir or default_data_dir())
    loaded = load_agents(agents)
    wanted = _wanted(agents, list(loaded.ops.agents), agent)
    require_broker(loaded.ops.app)
    if found:
        stderr.print(f"traces go to {found}")
    with tempfile.TemporaryDirectory(prefix="handrail-workers-") as folder:
        logs = {name: Path(folder) / f"{name}.log" for name in wanted}
        workers = [
            Worker(
                loaded.celery_name,
                [loaded.ops.queue_of(name)],
                concurrency=concurrency,
                pool=pool,
                hostname=f"{name}@%h",
                log_path=logs[name],
            )
            for name in wanted
        ]
        _serve(workers, Follower(logs), width=max(len(name) for name in wanted))


def _wanted(where: str, known: Sequence[str], asked: Sequence[str] | None) -> list[str]:
    if not known:
        raise NotLoaded(f"{where} declares no agents; decorate a function with @ops.agent")
    for name in asked or ():
        if name not in known:
            raise NotLoaded(f"{where} has no agent {name!r}; it has {', '.join(known)}")
    return list(dict.fromkeys(asked or known))


def _serve(workers: Sequence[Worker], follower: Follower, width: int) -> None:
    """Run until a signal or until a worker ends, which is an error; print what the workers print."""
    stopping = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with running(workers):
            ready = "1 worker is ready" if len(workers) == 1 else f"{len(workers)} workers are ready"
            stderr.print(f"{ready}; Ctrl-C stops")
            while not stopping.wait(0.2):
                _print(follower, width)
                ended = next((one for one in workers if not one.running), None)
                if ended is not None:
                    raise StackError(
                        f"worker {ended.hostname} has ended with status {ended.exit_status}; "
                        "its last lines are above"
                    )
            stderr.print("stopping: tasks that run are let finish")
    finally:
        _print(follower, width, last=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def _print(follower: Follower, width: int, *, last: bool = False) -> None:
    for name, line in follower.lines(last=last):
        sys.stdout.write(f"{name:<{width}} | {printable(line, _LINE_MAX)}\n")
    sys.stdout.flush()
