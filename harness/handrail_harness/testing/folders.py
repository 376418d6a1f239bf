"""Where the stack that xdist workers share has its files, and whether it is gone. Imports nothing heavy."""

from __future__ import annotations

import fcntl
import tempfile
import time
from pathlib import Path
from typing import Final

MEMBERS: Final = "members"
"""The file that every process of the session holds a shared lock on, and its keeper in the end an exclusive one."""
_PREFIX: Final = "handrail-session-"
_GRACE: Final = 20.0  # seconds that a stack may take to stop


def shared_folder(run_id: str) -> Path:
    """Return the folder of the session with this id, which need not exist."""
    return Path(tempfile.gettempdir()) / f"{_PREFIX}{run_id}"


def shared_folders() -> list[Path]:
    """Return the folders of all sessions that are there."""
    return sorted(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"))


def gone(folder: Path, *, within: float = _GRACE) -> bool:
    """Wait until a session's folder is gone, at most so many seconds; return whether it is."""
    deadline = time.monotonic() + within
    while folder.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def abandoned(folder: Path) -> bool:
    """Return whether a session's folder has neither members nor a keeper any more."""
    try:
        with open(folder / MEMBERS, "rb") as members:
            fcntl.flock(members, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return folder.is_dir()
    except OSError:
        return False
    return True
