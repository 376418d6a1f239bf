"""Nothing stays behind: the check at a session's end, and the ledger that tells the sweeper of a killed session.

A session writes down what would outlive it before it makes it, and takes the entry back when that is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from handrail_harness.errors import StackError

SESSION_VARIABLE = "HANDRAIL_SESSION"
"""In the environment of every process that a session starts for its runs."""
_GRACE = 3.0  # seconds for processes that have been told to end


@dataclass(slots=True)
class Entry:
    """One session in the ledger: its process, and what has to be undone when that was killed."""

    session: str
    pid: int
    started: float
    databases: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)
    namespace: str = ""
    """The process-id namespace that `pid` is of."""
    path: Path = field(default_factory=Path, compare=False)

    def alive(self) -> bool:
        """Return whether the session's process still runs (and is not another one with the same number).

        One in another container that shares this folder cannot be seen from here, and counts as alive.
        """
        import psutil

        if self.namespace != _namespace():
            return True
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            is_it = abs(process.create_time() - self.started) < 1.0
            return is_it and process.status() != psutil.STATUS_ZOMBIE
        return False


class Ledger:
    """The entry of one session: a file of its user's own, readable by nobody else (it may hold a password)."""

    def __init__(self, session: str) -> None:
        self._entry = Entry(session, os.getpid(), 0.0, namespace=_namespace())
        self._open = False

    def open(self) -> None:
        """Make the entry."""
        import psutil

        self._entry.started = psutil.Process().create_time()
        self._entry.path = ledger_folder() / f"{self._entry.session}.json"
        self._open = True
        self._write()

    def note_database(self, url: str) -> None:
        """Write down a Redis database that this session has claimed."""
        self._entry.databases.append(url)
        self._write()

    def note_containers(self, label: str) -> None:
        """Write down the testcontainers session whose containers are this session's."""
        self._entry.containers.append(label)
        self._write()

    def close(self) -> None:
        """Take the entry back: nothing is left to undo. May be called twice."""
        if self._open:
            self._entry.path.unlink(missing_ok=True)
            self._open = False

    def _write(self) -> None:
        entry = self._entry
        document = {
            "session": entry.session,
            "pid": entry.pid,
            "started": entry.started,
            "databases": entry.databases,
            "containers": entry.containers,
            "namespace": entry.namespace,
        }
        written = entry.path.with_suffix(".new")
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(document, file)
        written.replace(entry.path)


def ledger_folder() -> Path:
    """Return the folder of this user's ledger, made if need be; raises `StackError` when it is somebody else's."""
    folder = Path(tempfile.gettempdir()) / f"handrail-sessions-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StackError(f"{folder} is not a folder of this user alone; remove it, or set TMPDIR")
    return folder


def entries() -> Iterator[Entry]:
    """Yield every entry of the ledger; a file that is none is skipped."""
    for path in sorted(ledger_folder().glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            document = json.loads(path.read_text(encoding="utf-8"))
            yield Entry(
                str(document["session"]),
                int(document["pid"]),
                float(document["started"]),
                [str(url) for url in document["databases"]],
                [str(label) for label in document["containers"]],
                str(document["namespace"]),
                path,
            )


def leftovers(session: str, expected_gone: Iterable[int] = ()) -> list[str]:
    """Return what is left of a session that has ended, a phrase each, after a moment for processes to end."""
    deadline = time.monotonic() + _GRACE
    pids = set(expected_gone)
    while True:
        left = [*processes_of([session]), *(pid for pid in pids if _runs(pid))]
        if not left or time.monotonic() > deadline:
            return [f"process {pid} ({_command(pid)})" for pid in dict.fromkeys(left)]
        time.sleep(0.05)


def containers_of(label: str) -> list[str]:
    """Return the names of the containers of a testcontainers session, running or not; raises `StackError`."""
    from testcontainers.core.docker_client import DockerClient
    from testcontainers.core.labels import LABEL_SESSION_ID

    from handrail_harness.stack.daemon import require_docker

    require_docker()
    client = DockerClient().client
    try:
        found = client.containers.list(all=True, filters={"label": f"{LABEL_SESSION_ID}={label}"})
        return [str(container.name) for container in found]
    finally:
        client.close()


def processes_of(sessions: Sequence[str]) -> list[int]:
    """Return the processes whose environment names one of these sessions, this one excepted."""
    import psutil

    found: list[int] = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.environ().get(SESSION_VARIABLE) in sessions
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process.pid)
    return found


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""  # no Linux: there is one


def _runs(pid: int) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _command(pid: int) -> str:
    import psutil

    from handrail_harness.printable import printable

    with contextlib.suppress(psutil.Error):
        return printable(" ".join(psutil.Process(pid).cmdline()), 100)
    return "gone meanwhile"
