"""The states that a loss of power may leave a spool in: enumerated from what a writer really did to the disk.

What counts as durable is what POSIX promises and no more: a file's bytes up to its last completed sync, a name
after a sync of its folder. Of everything younger each piece may or may not be there: names in any combination,
bytes up to any length, with whole blocks of zeros where data never arrived.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handrail_propagation.spool.files import Files

BLOCK = 512


@dataclass(slots=True)
class Inode:
    """A file's content, and how much of it was synced after each step."""

    data: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened: a call to the disk, or `acted`: an effect whose record was acknowledged."""

    what: str
    inode: int = 0
    data: bytes = b""
    name: str = ""
    new_name: str = ""


class Recording(Files):
    """Does what `Files` does and keeps the sequence of it."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._inodes: dict[int, int] = {}
        self._count = 0

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self._count += 1
        self._inodes[descriptor] = self._count
        self.steps.append(Step("create", self._count, name=path.name))
        return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        written = super().write(descriptor, data)
        self.steps.append(Step("write", self._inodes[descriptor], data=data[:written]))
        return written

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        self.steps.append(Step("sync", self._inodes[descriptor]))

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        self.steps.append(Step("sync_folder"))

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self.steps.append(Step("rename", name=old.name, new_name=new.name))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.steps.append(Step("unlink", name=path.name))

    def acted(self, span_id: str) -> None:
        """Note that an effect happens now."""
        self.steps.append(Step("acted", name=span_id))


@dataclass(slots=True)
class Crash:
    """One state of the disk after a crash, and the effects that had happened before it."""

    at: int
    files: dict[str, bytes]
    acted: set[str]

    def lay_out(self, folder: Path) -> None:
        """Write the state into an empty folder."""
        folder.mkdir(mode=0o700)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)


@dataclass(slots=True)
class _Disk:
    """What is certain, and what is on its way."""

    data: dict[int, bytearray] = field(default_factory=dict)
    synced: dict[int, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    """Durable."""
    changes: list[Step] = field(default_factory=list)
    """Changes of names since the folder was synced."""
    acted: set[str] = field(default_factory=set)

    def apply(self, step: Step) -> None:
        match step.what:
            case "create":
                self.data[step.inode] = bytearray()
                self.synced[step.inode] = 0
                self.changes.append(step)
            case "write":
                self.data[step.inode] += step.data
            case "sync":
                self.synced[step.inode] = len(self.data[step.inode])
            case "rename" | "unlink":
                self.changes.append(step)
            case "sync_folder":
                self.names = _renamed(self.names, self.changes)
                self.changes = []
            case "acted":
                self.acted.add(step.name)


def _renamed(names: dict[str, int], changes: list[Step]) -> dict[str, int]:
    found = dict(names)
    for step in changes:
        if step.what == "create":
            found[step.name] = step.inode
        elif step.what == "unlink":
            found.pop(step.name, None)
        elif step.name in found:  # a rename of what never got its first name has no effect
            found[step.new_name] = found.pop(step.name)
    return found


def crashes(steps: list[Step], variants: int, seed: int = 0) -> Iterator[Crash]:
    """Yield crash states after every step: with nothing, with everything, and `variants` random ones between."""
    chance = random.Random(seed)
    disk = _Disk()
    for at, step in enumerate(steps, start=1):
        disk.apply(step)
        for variant in range(variants + 2):
            yield Crash(at, _state(disk, variant, chance), set(disk.acted))


def _state(disk: _Disk, variant: int, chance: random.Random) -> dict[str, bytes]:
    if variant == 0:
        kept: list[Step] = []
    elif variant == 1:
        kept = disk.changes
    else:
        kept = [change for change in disk.changes if chance.random() < 0.6]
    files: dict[str, bytes] = {}
    for name, inode in _renamed(disk.names, kept).items():
        data, synced = bytes(disk.data[inode]), disk.synced[inode]
        if variant == 0:
            data = data[:synced]
        elif variant > 1:
            data = data[:synced] + _torn(data[synced:], synced, chance)
        files[name] = data
    return files


def _torn(young: bytes, offset: int, chance: random.Random) -> bytes:
    """Return what may be left of bytes that were not synced: a beginning, with blocks of it still zero."""
    left = bytearray(young[: chance.randint(0, len(young))])
    for start in range(-(offset % BLOCK), len(left), BLOCK):
        if chance.random() < 0.3:
            first, last = max(0, start), min(len(left), start + BLOCK)
            left[first:last] = bytes(last - first)
    return bytes(left)


class Forgetful(Recording):
    """A writer that leaves out one kind of call: the enumeration has to find that."""

    def __init__(self, leaves_out: str) -> None:
        super().__init__()
        self._leaves_out = leaves_out

    def __getattribute__(self, name: str) -> Any:
        if name in ("sync", "sync_folder") and name == object.__getattribute__(self, "_leaves_out"):
            return lambda *_: None
        return super().__getattribute__(name)
