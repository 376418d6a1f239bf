"""Undoes what test sessions left that were killed: processes, containers, claimed Redis databases, folders.

Touches only what a session wrote down, or marked as its own, and only when the session's process is gone.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator

from handrail_harness.errors import StackError
from handrail_harness.printable import printable
from handrail_harness.testing.databases import empty
from handrail_harness.testing.folders import abandoned, shared_folders
from handrail_harness.testing.leftovers import Entry, entries, processes_of

_GONE = (404, 409)  # HTTP statuses: removed meanwhile, or about to be, by another sweeper


def sweep() -> list[str]:
    """Remove what dead sessions left; return a line for each thing removed, and for each that could not be."""
    return sweep_sessions() + list(_folders())


def sweep_sessions() -> list[str]:
    """As `sweep`, but for folders: a session that begins may be looked at before it holds its own."""
    done: list[str] = []
    for entry in list(entries()):
        if entry.alive():
            continue
        lines = list(_undo(entry))
        done += lines
        if not any(line.startswith("not removed") for line in lines):
            entry.path.unlink(missing_ok=True)
            done.append(f"removed: entry of session {entry.session}, whose process {entry.pid} is gone")
    return done


def _undo(entry: Entry) -> Iterator[str]:
    import os

    for pid in processes_of([entry.session]):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            yield f"ended: process {pid} of session {entry.session}"
    for url in entry.databases:
        from handrail_agents.redis_client import without_password
        from handrail_harness.stack.redis import answers

        # A Redis that is gone took its databases along.
        if answers(url):
            try:
                if empty(url, entry.session):
                    yield f"emptied: {without_password(url)}"
            except StackError as error:
                yield f"not removed: {error}"
    for label in entry.containers:
        yield from _containers(label)


def _containers(label: str) -> Iterator[str]:
    from docker.errors import APIError, DockerException
    from testcontainers.core.docker_client import DockerClient
    from testcontainers.core.labels import LABEL_SESSION_ID

    from handrail_harness.stack.daemon import docker_problem

    problem = docker_problem()
    if problem:
        yield f"not removed: containers of testcontainers session {label}: {problem}"
        return
    client = DockerClient().client
    try:
        for container in client.containers.list(all=True, filters={"label": f"{LABEL_SESSION_ID}={label}"}):
            try:
                container.remove(force=True, v=True)
            except APIError as error:
                if error.status_code not in _GONE:
                    yield f"not removed: container {container.name}: {_reason(error)}"
            else:
                yield f"removed: container {container.name}"
    except DockerException as error:
        yield f"not removed: containers of testcontainers session {label}: {_reason(error)}"
    finally:
        client.close()


def _reason(error: Exception) -> str:
    return printable(" ".join(str(error).split()), 200)


def _folders() -> Iterator[str]:
    """Remove shared folders whose keeper and members are gone."""
    for folder in shared_folders():
        if abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
            yield f"removed: folder {folder}"
