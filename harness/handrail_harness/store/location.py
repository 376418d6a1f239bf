"""Where the store lives, who holds it, and how to reach the server that does.

The data directory is private (0700); the state file in it holds the query API's token (0600).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from handrail_harness.errors import StackError

DATA_DIR_VARIABLE = "HANDRAIL_DATA_DIR"
_STATE = "server.json"
_LOCK = "lock"


def default_data_dir() -> Path:
    """Return `HANDRAIL_DATA_DIR`, else the platform's folder for user data."""
    configured = os.environ.get(DATA_DIR_VARIABLE, "").strip()
    if configured:
        return Path(configured).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("handrail", appauthor=False))


@dataclass(frozen=True, slots=True)
class ServerState:
    """How to reach the running server: OTLP over HTTP (`http_url`, the query API as well) and over gRPC."""

    pid: int
    http_url: str
    grpc_endpoint: str
    token: str

    def write(self, data_dir: Path) -> None:
        """Publish this state in `data_dir`, readable by the owner only."""
        temporary = data_dir / f".{_STATE}.{self.pid}"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self), file)
        temporary.replace(data_dir / _STATE)

    @classmethod
    def read(cls, data_dir: Path) -> ServerState | None:
        """Return what the server in `data_dir` has published, `None` when there is nothing usable."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            document = json.loads((data_dir / _STATE).read_text(encoding="utf-8"))
            state = cls(**document)
            if isinstance(state.http_url, str) and isinstance(state.token, str):
                return state
        return None

    @staticmethod
    def remove(data_dir: Path) -> None:
        """Withdraw the published state."""
        (data_dir / _STATE).unlink(missing_ok=True)


class StoreBusy(StackError):
    """Another process has this data directory; stop it, or set HANDRAIL_DATA_DIR."""


class DirectoryLock:
    """The right to write in a data directory, one process at a time; it ends with the process."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / _LOCK
        self._handle = -1

    def is_held(self) -> bool:
        """Return whether another process has the lock at this moment."""
        try:
            self.acquire(timeout=0)
        except (StoreBusy, FileNotFoundError) as error:
            return isinstance(error, StoreBusy)
        self.release()
        return False

    def acquire(self, *, timeout: float = 1.0) -> None:
        """Take the lock within `timeout` seconds; raises `StoreBusy`, naming the holder."""
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + timeout
        try:
            while not _flock(handle):
                if time.monotonic() >= deadline:
                    holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
                    raise StoreBusy(
                        f"{self.path.parent} is in use by process {holder}; "
                        f"stop it, or set {DATA_DIR_VARIABLE}"
                    )
                time.sleep(0.05)
        except BaseException:
            os.close(handle)
            raise
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)
        self._handle = handle

    def release(self) -> None:
        """Give the lock up. May be called twice."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)


def _flock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
