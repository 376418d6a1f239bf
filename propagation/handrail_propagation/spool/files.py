"""Every call that changes something on disk, in one place: what is in here is what a fault can hit.

Tests replace the object to record the calls, to fail them, or to die between them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class Files:
    """The operating system's calls; each raises `OSError` as they do."""

    def make_folder(self, folder: Path) -> None:
        """Create a folder that only its owner can enter; an existing one stays as it is."""
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            give_to_owner(folder, folder.parent)

    def create(self, path: Path) -> int:
        """Create a file that must not exist, for appending, locked by this process; return its descriptor."""
        descriptor = os.open(path, _CREATE, 0o600)
        try:
            give_to_owner(descriptor, path.parent)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    write: Callable[[int, bytes], int] = staticmethod(os.write)
    """Append in one call; return how many bytes went in. Not a method around it: each record comes through here."""

    def sync(self, descriptor: int) -> None:
        """Wait until what was written is on disk."""
        _fdatasync(descriptor)

    def sync_path(self, path: Path) -> None:
        """Wait until what others have written into a file is on disk; one that is gone needs no waiting for."""
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def sync_folder(self, folder: Path) -> None:
        """Wait until the names of files in `folder` are on disk."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file its new name, in one step."""
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        """Delete a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def close(self, descriptor: int) -> None:
        """Close a descriptor, which gives up its lock; errors of the last write were seen by `write`."""
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def size(self, descriptor: int) -> int:
        """Return a file's size in bytes."""
        return os.fstat(descriptor).st_size

    def is_deleted(self, descriptor: int) -> bool:
        """Whether an open file has no name any more: what is written into it goes with the process."""
        return not os.fstat(descriptor).st_nlink

    def replace(self, path: Path, unfinished: Path, data: bytes) -> None:
        """Give `path` a new content, in one step and on disk when this returns; by way of the file `unfinished`."""
        self.unlink(unfinished)
        descriptor = self.create(unfinished)
        try:
            if self.write(descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, "could only be written in part", str(unfinished))
            self.sync(descriptor)
        finally:
            self.close(descriptor)
        self.rename(unfinished, path)
        self.sync_folder(path.parent)

    def used(self, folder: Path) -> int:
        """Return the bytes of all files in `folder`."""
        total = 0
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # forwarded and deleted meanwhile
                    total += entry.stat(follow_symlinks=False).st_size
        return total


FILES: Final = Files()


def give_to_owner(made: int | Path, folder: Path) -> None:
    """Let what root has made in somebody's folder be that one's: else nobody but root can read on from there.

    `made` is an open file, or a folder.
    """
    if os.geteuid():
        return
    owner = folder.stat()
    if owner.st_uid:
        with contextlib.suppress(PermissionError):  # a container's root may do less
            os.chown(made, owner.st_uid, owner.st_gid)


def is_full(error: OSError) -> bool:
    """Whether there is no room on the disk, or no more for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
