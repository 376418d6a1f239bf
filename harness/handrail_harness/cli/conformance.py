"""`handrail conformance MODULE:APP`: does any Celery app trace its messages as the standards and conventions say?"""

from __future__ import annotations

import json as _json
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from handrail_harness.cli.output import print_json, progress, stdout
from handrail_harness.conformance.scenarios import Scenario
from handrail_propagation import ConfigurationError


def conformance(
    app: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="The Celery app, as `celery -A` takes it.")
    ],
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="NAME[=JSON]",
            help="Also run this task of the app, with an object of keyword arguments; may be repeated.",
        ),
    ] = None,
    pool: Annotated[
        str, typer.Option("--pool", "-P", help="Celery's pool: prefork, solo, threads, gevent.")
    ] = ("prefork"),
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which what has not come is not there.")
    ] = 20.0,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write JUnit XML.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write an HTML page.")] = None,
) -> None:
    """Put W3C's cases, the conventions and the invariants of a trace tree to a Celery app of yours.

    On a stack of its own, through a real queue and a real worker, traced by whatever traces the app. Exit status 0
    when everything passes, 1 when something fails.
    """
    from handrail_harness.conformance.reports import html as as_html
    from handrail_harness.conformance.reports import junit as as_junit
    from handrail_harness.conformance.suite import conform
    from handrail_harness.render.conformance import ConformancePicture

    scenarios = [_scenario(one) for one in task or ()]
    _refuse_unwritable(junit, html)
    with progress() as say:
        found = conform(app, folder=Path.cwd(), tasks=scenarios, pool=pool, timeout=timeout, say=say)
    if json:
        print_json(found.document())
    else:
        stdout.print(ConformancePicture(found), soft_wrap=False)
    for file, text in ((junit, as_junit), (html, as_html)):
        if file is not None:
            try:
                file.write_text(text(found), encoding="utf-8")
            except OSError as error:
                raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error
    if not found.passed:
        raise typer.Exit(1)


def _refuse_unwritable(*files: Path | None) -> None:
    """Raise `ConfigurationError` before a run whose report could not be kept."""
    named = [file.absolute() for file in files if file is not None]
    if len(set(named)) < len(named):
        raise ConfigurationError(f"--junit and --html are both {named[0]}; give them a file each")
    for file in named:
        if not file.parent.is_dir():
            raise ConfigurationError(f"{file} cannot be written: there is no folder {file.parent}")
        if file.is_dir():
            raise ConfigurationError(f"{file} cannot be written: it is a folder")
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            raise ConfigurationError(f"{file} cannot be written: permission denied")


def _scenario(given: str) -> Scenario:
    name, _, text = given.partition("=")
    if not re.fullmatch(r"[\w.\-/:]+", name):
        raise ConfigurationError(f"--task {given!r} names no task; write NAME or NAME={{...}}")
    try:
        arguments: Any = _json.loads(text or "{}")
    except ValueError as error:
        raise ConfigurationError(f"the arguments of --task {name} are no JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise ConfigurationError(f"the arguments of --task {name} are no JSON object of keyword arguments")
    return Scenario(f"task {name}", name, kwargs=arguments)
