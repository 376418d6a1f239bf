"""The demo's agents and tools: three queues, `planner` → `scribe` and `infra`. Imported by its workers.

Where they work and what they think with comes from the environment (`settings`), as in any worker.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from celery import Celery
from opentelemetry.instrumentation.dbapi import instrument_connection

from handrail_agents import Agents, Run
from handrail_agents.models import Model, open_model
from handrail_harness.demo import scripts
from handrail_harness.demo.settings import Settings
from handrail_harness.demo.workspace import STAGING_TOKEN, Workspace
from handrail_propagation import HandrailError, tracer

_settings = Settings.from_environment()
_workspace = Workspace(_settings.workspace)
_real: Model | None = open_model(_settings.model) if _settings.model else None
_TEXT_MAX: Final = 4_000

app = Celery("handrail-demo", broker=_settings.redis_url)
ops = Agents(app, gate=_settings.gate, queue_prefix=_settings.queue_prefix)


class AccessRefused(HandrailError):
    """The volume API does not accept this token for this volume."""


@ops.tool(risk="read", touches="file://files")
def search_files(text: str) -> list[str]:
    """Names of the files that contain a text, upper and lower case alike."""
    found = [
        str(path.relative_to(_workspace.files))
        for path in sorted(_workspace.files.rglob("*"))
        if path.is_file() and text.lower() in path.read_text(encoding="utf-8").lower()
    ]
    return found[:50]


@ops.tool(risk="read", touches="file://files/{path:path}")
def read_file(path: str) -> str:
    """One text file."""
    return _inside(path).read_text(encoding="utf-8")[:_TEXT_MAX]


@ops.tool(risk="read", touches="volume://marlowe/{volume_id}")
def describe_volume(volume_id: str) -> dict[str, str]:
    """Name and folder of a volume."""
    with _registry() as registry:
        row = registry.execute("SELECT name, folder FROM volumes WHERE id = ?", (volume_id,)).fetchone()
    return {"name": row[0], "folder": row[1]} if row else {"error": "there is no such volume"}


@ops.tool(risk="write", reversible=True, touches="file://files/notes/{name}")
def write_note(name: str, text: str) -> str:
    """Write a note for the team; the name is a plain file name."""
    path = _inside(f"notes/{Path(name).name}")
    path.write_text(text[:_TEXT_MAX], encoding="utf-8")
    return "written"


@ops.tool(risk="write", reversible=True, touches="volume://marlowe/{volume_id}")
def refresh_staging(volume_id: str) -> str:
    """Copy the newest bookings into the staging volume, with the credential that staging has."""
    with _registry() as registry:
        scope = _scope(registry, STAGING_TOKEN)
    if scope not in ("account", volume_id):
        return f"refused: credential mismatch, the staging credential is not valid for {volume_id}"
    return "refreshed"


@ops.tool(risk="destructive", reversible=False, touches="volume://marlowe/{volume_id}", credential="token")
def delete_volume(volume_id: str, token: str) -> str:
    """Delete a volume with everything in it."""
    with _registry() as registry:
        if _scope(registry, token) not in ("account", volume_id):
            raise AccessRefused
        registry.execute("DELETE FROM snapshots WHERE volume_id = ?", (volume_id,))
        registry.execute("DELETE FROM volumes WHERE id = ?", (volume_id,))
    folder = _workspace.volume(Path(volume_id).name)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        _delete(path)
    shutil.rmtree(folder)
    return "deleted"


@ops.agent(
    tools=[refresh_staging, search_files, read_file, describe_volume, delete_volume],
    model=_real or scripts.INFRA,
)
def infra(run: Run, task: str) -> str:
    """Look after the volumes of the bookings service, production and staging."""
    return run.loop(f"{task} The staging volume is vol-9a07.")


@ops.agent(tools=[write_note, read_file], model=_real or scripts.SCRIBE)
def scribe(run: Run, task: str) -> str:
    """Keep the team informed with short notes."""
    return run.loop(task)


@ops.agent(delegates=[infra, scribe], model=_real or scripts.PLANNER)
def planner(run: Run, request: str) -> str:
    """Turn what the operator asks for into work for scribe and infra, and say when it is done."""
    return run.loop(request)


class _Registry(sqlite3.Connection):
    """The volume registry; `database` is what its spans call it."""

    database = "registry"


@contextmanager
def _registry() -> Iterator[Any]:
    """Open the registry for one transaction; OpenTelemetry's DB-API instrumentation sees its statements."""
    with closing(sqlite3.connect(_workspace.registry, factory=_Registry)) as connection, connection:
        traced: Any = instrument_connection(__name__, connection, "sqlite", {"database": "database"})
        yield traced.cursor()


def _scope(registry: Any, token: str) -> str:
    row = registry.execute("SELECT scope FROM credentials WHERE token = ?", (token,)).fetchone()
    return str(row[0]) if row else "none"


def _inside(path: str) -> Path:
    """Return a path below the files folder; a model may ask for anything."""
    found = (_workspace.files / path).resolve()
    if not found.is_relative_to(_workspace.files.resolve()):
        raise AccessRefused("that path leads out of the files")
    return found


def _delete(path: Path) -> None:
    """Delete one file, in a span by the file conventions: no instrumentation covers the standard library."""
    with tracer().start_as_current_span(
        "file delete",
        attributes={"file.path": str(path.relative_to(_workspace.folder)), "file.operation": "delete"},
    ):
        path.unlink()
