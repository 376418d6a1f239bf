"""Whether a writer is gone for good, and when it was last heard of."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from handrail_propagation.spool.identity import Identity, boot_id, pid_namespace, start_time
from handrail_propagation.spool.reader import SegmentFile, is_alive, read
from handrail_propagation.spool.record import Kind, Record


def is_gone(files: list[SegmentFile], identity: Identity) -> bool:
    """Whether nobody will write into these segments, or start another one after them, any more.

    Its locks are free, and no process is there that it says it is: one that has closed its segment may open another.
    A process of another pid namespace, or of a time before the last boot, cannot be asked: there the locks decide.
    """
    if is_alive(files):
        return False
    if identity.boot_id != boot_id() or identity.pid_namespace != pid_namespace() or not identity.pid:
        return True
    return start_time(identity.pid) != identity.start_time or _is_zombie(identity.pid)


def has_parent(identity: Identity) -> bool:
    """Whether the parent of a process may still be there to say how it ended; this process is no such parent."""
    parent = identity.parent_pid
    if identity.boot_id != boot_id() or parent in (1, os.getpid()):
        return False
    return identity.pid_namespace != pid_namespace() or (bool(start_time(parent)) and not _is_zombie(parent))


def identity_of(files: Iterable[SegmentFile]) -> Identity:
    """Return who says to have written these segments."""
    for file in files:
        first = next(read(file), None)
        if isinstance(first, Record) and first.kind is Kind.WRITER:
            try:
                return Identity.parse(first.payload)
            except ValueError:
                continue
    return Identity()


def last_sign_of_life(files: Iterable[SegmentFile]) -> int:
    """Return when something was last written, in nanoseconds since 1970; 0 when no file is left."""
    times = [0]
    for file in files:
        try:
            times.append(file.path.stat().st_mtime_ns)
        except FileNotFoundError:
            continue
    return max(times)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False
