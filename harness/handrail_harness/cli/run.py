"""`handrail run FILE`: start the workers of a task file's agents, run one task, say what became of it."""

from __future__ import annotations

import json as _json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from handrail_agents.outcomes import Done, Failed, InDoubt, Outcome, to_text
from handrail_harness.cli.output import print_json, progress, stderr, stdout
from handrail_harness.investigate import Investigation, investigate
from handrail_harness.loading import load_agents
from handrail_harness.rules import settled
from handrail_harness.stack.embedded import EmbeddedStack, use_what_is_up
from handrail_harness.stack.reach import require_broker
from handrail_harness.stack.workers import Worker, running
from handrail_harness.store.location import DATA_DIR_VARIABLE, default_data_dir
from handrail_harness.taskfile import TaskFile

_SETTLE_SECONDS = 10.0


def run(
    file: Annotated[Path, typer.Argument(help="A task file: agents, agent, arguments (YAML).")],
    timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds to wait for the run. [default: the file's]")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(envvar=DATA_DIR_VARIABLE, help="Where to keep the traces.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print outcome and investigation as JSON.")] = False,
) -> None:
    """Run a task with your own agents on the embedded stack, and investigate what happened.

    Exit status 0 when the run is done and is one unified tree.
    """
    task = TaskFile.read(file)
    folder = data_dir or default_data_dir()
    limit = task.timeout if timeout is None else timeout
    with progress() as say, _stack(folder, needed=task.workers, say=say) as stack:
        outcome, trace_id, run_id = _perform(task, file.parent, limit, stack, say)
        found = _investigate(stack, trace_id, say) if stack is not None else None
    if json:
        print_json(
            {
                "agent": task.agent,
                "trace_id": trace_id,
                "run_id": run_id,
                "outcome": _json.loads(to_text(outcome)),
                "unified": found.report.unified if found else None,
                "investigation": found.document() if found else None,
            }
        )
    else:
        _tell(task.agent, outcome, found, trace_id)
    if not isinstance(outcome, Done) or (found is not None and not found.report.unified):
        raise typer.Exit(1)


@contextmanager
def _stack(folder: Path, *, needed: bool, say: Callable[[str], None]) -> Iterator[EmbeddedStack | None]:
    """Give the embedded stack for workers of our own; others have their broker and their address for spans."""
    if not needed:
        use_what_is_up(folder)
        yield None
        return
    say("starting Redis and the receiver")
    with EmbeddedStack(folder) as stack:
        # Before the user's module is imported. The broker, too: a run with workers of its own never reaches others'.
        os.environ.update(stack.environ())
        yield stack


def _perform(
    task: TaskFile, place: Path, limit: float, stack: EmbeddedStack | None, say: Callable[[str], None]
) -> tuple[Outcome, str, str]:
    """Send the task and wait for its outcome; return it with trace id and run id."""
    from handrail_propagation import flush

    loaded = load_agents(task.agents, place)
    ops = loaded.ops
    ops.check(task.agent, task.arguments)  # before anything is started for it
    require_broker(ops.app)
    with _worker_logs() as logs:
        workers = [
            Worker(
                loaded.celery_name,
                [ops.queue_of(name)],
                cwd=place,
                hostname=f"{name}-{os.getpid()}@%h",
                log_path=logs.folder / f"{name}.log",
            )
            for name in (ops.agents if stack is not None else ())
        ]
        if workers:
            say(f"starting {len(workers)} worker processes: {', '.join(ops.agents)}")
        with running(workers):
            job = ops.send(task.agent, **task.arguments)
            flush()
            say(f"{task.agent} is at work; trace {job.trace_id}")
            outcome = job.result(timeout=limit)
            say("stopping the workers")
        logs.wanted = bool(workers) and isinstance(outcome, (Failed, InDoubt))
    return outcome, job.trace_id, job.run_id


@dataclass(slots=True)
class _Logs:
    folder: Path
    wanted: bool = True


@contextmanager
def _worker_logs() -> Iterator[_Logs]:
    """Give a folder for the workers' logs, which is kept when they are what to look at next."""
    logs = _Logs(Path(tempfile.mkdtemp(prefix="handrail-run-")))
    try:
        yield logs
    finally:
        if logs.wanted and any(logs.folder.iterdir()):
            stderr.print(f"the workers' logs are in {logs.folder}", markup=False)
        else:
            shutil.rmtree(logs.folder, ignore_errors=True)


def _investigate(stack: EmbeddedStack, trace_id: str, say: Callable[[str], None]) -> Investigation:
    say("reading the trace back")
    source = stack.source()
    try:
        settled(source, trace_id, wait=_SETTLE_SECONDS)
        return investigate(source, trace_id)
    finally:
        source.close()


def _tell(agent: str, outcome: Outcome, found: Investigation | None, trace_id: str) -> None:
    from handrail_harness.render import render_investigation
    from handrail_harness.render.outcome import outcome_line
    from handrail_harness.render.style import signs_for

    stdout.print(outcome_line(outcome, agent, signs_for(stdout)))
    if found is not None:
        shown: Any = render_investigation(found)
        stdout.print(shown, soft_wrap=False)
    else:
        stdout.print(Text(f"trace {trace_id}", style="dim"))
