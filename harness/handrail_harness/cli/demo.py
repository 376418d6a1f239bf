"""`handrail demo`: the nine-second wipe, on real Redis and prefork workers; then again with the gate on."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from handrail_agents.outcomes import Failed
from handrail_harness.cli.output import print_json, progress, stderr, stdout
from handrail_harness.errors import StackError
from handrail_harness.store.location import DATA_DIR_VARIABLE, default_data_dir


def demo(
    model: Annotated[
        str, typer.Option(help="Let a real model play: anthropic:NAME or openai:NAME. [default: scripted]")
    ] = "",
    workspace: Annotated[
        Path | None, typer.Option(help="Play in this new folder and keep it. [default: a temporary one]")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(envvar=DATA_DIR_VARIABLE, help="Where to keep the traces.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for one run.")] = 120.0,
    json: Annotated[bool, typer.Option("--json", help="Print both acts' results as JSON.")] = False,
) -> None:
    """Let three agents wipe a production volume, see what happened and why; then again with the gate on."""
    from handrail_agents.models import open_model

    if model:
        open_model(model)  # a wrong name is said before anything starts
    from handrail_harness.demo.acts import play_both

    folder = data_dir or default_data_dir()
    with _workspace(workspace) as place, progress() as say:
        acts = play_both(folder, place, model=model, timeout=timeout, say=say)
    if json:
        print_json({"model": model or "scripted", "acts": [act.document() for act in acts]})
    else:
        from handrail_harness.render.demo import render_demo

        kept = place if workspace is not None else None
        elsewhere = None if os.environ.get(DATA_DIR_VARIABLE) else data_dir
        # Not cropped: the commands at the end are longer than a narrow terminal is wide.
        stdout.print(render_demo(acts, data_dir=elsewhere, workspace=kept), soft_wrap=False, crop=False)
    ended = not any(isinstance(act.outcome, Failed) for act in acts)
    played = ended and all(act.unified for act in acts) and not acts[-1].wiped
    # A real model may know better than to wipe; the script does not.
    if not played or not (model or acts[0].wiped):
        raise typer.Exit(1)


@contextmanager
def _workspace(wanted: Path | None) -> Iterator[Path]:
    """Give a folder that is empty; a temporary one is removed afterwards."""
    if wanted is not None:
        if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
            raise StackError(f"{wanted} is not empty; the demo needs a folder of its own, give a new name")
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted.absolute()
        return
    temporary = Path(tempfile.mkdtemp(prefix="handrail-demo-"))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if temporary.exists():
            stderr.print(f"could not remove {temporary}; remove it by hand")
