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


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened: a call to the disk, or `acted`: an effect whose record was acknowledged."""

    what: str
    inode: int = 0
    data: bytes = b""
    name: str = ""
    new_name: str = ""


class Recording(Files):
    """Does what `Files` does below `root` and keeps the sequence of it; names are paths from there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps: list[Step] = []
        self._inodes: dict[int, int] = {}
        """Descriptor → file."""
        self._named: dict[str, int] = {}
        self._count = 0

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def make_folder(self, folder: Path) -> None:
        there = folder.exists()
        super().make_folder(folder)
        if not there and folder != self.root:
            self.steps.append(Step("make_folder", name=self._name(folder)))

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self._count += 1
        self._inodes[descriptor] = self._named[self._name(path)] = self._count
        self.steps.append(Step("create", self._count, name=self._name(path)))
        return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        written = super().write(descriptor, data)
        self.steps.append(Step("write", self._inodes[descriptor], data=data[:written]))
        return written

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        self.steps.append(Step("sync", self._inodes[descriptor]))

    def sync_path(self, path: Path) -> None:
        super().sync_path(path)
        self.steps.append(Step("sync", self._named[self._name(path)]))

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        self.steps.append(Step("sync_folder", name=self._name(folder)))

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self._named[self._name(new)] = self._named.pop(self._name(old))
        self.steps.append(Step("rename", name=self._name(old), new_name=self._name(new)))

    def unlink(self, path: Path) -> None:
        there = path.exists()
        super().unlink(path)
        if there:
            self.steps.append(Step("unlink", name=self._name(path)))

    def acted(self, span_id: str) -> None:
        """Note that an effect happens now."""
        self.steps.append(Step("acted", name=span_id))

    def arrived(self, record: str) -> None:
        """Note that a destination has a record now."""
        self.steps.append(Step("arrived", name=record))


@dataclass(slots=True)
class Crash:
    """One state of the disk after a crash, and what had happened in the world before it."""

    at: int
    files: dict[str, bytes | None]
    """Path → content, `None` for a folder."""
    acted: set[str]
    arrived: set[str]

    def lay_out(self, folder: Path) -> None:
        """Write the state into an empty folder."""
        folder.mkdir(mode=0o700)
        for name, data in sorted(self.files.items()):
            if data is None:
                (folder / name).mkdir(mode=0o700)
            else:
                (folder / name).write_bytes(data)


@dataclass(slots=True)
class _Disk:
    """What is certain, and what is on its way."""

    data: dict[int, bytearray] = field(default_factory=dict)
    synced: dict[int, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    """Durable; 0 for a folder."""
    changes: list[Step] = field(default_factory=list)
    """Changes of names since their folder was synced."""
    acted: set[str] = field(default_factory=set)
    arrived: set[str] = field(default_factory=set)

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
            case "make_folder" | "rename" | "unlink":
                self.changes.append(step)
            case "sync_folder":
                here = [change for change in self.changes if str(Path(change.name).parent) == step.name]
                self.names = _renamed(self.names, here)
                self.changes = [change for change in self.changes if change not in here]
            case "acted":
                self.acted.add(step.name)
            case "arrived":
                self.arrived.add(step.name)


def _renamed(names: dict[str, int], changes: list[Step]) -> dict[str, int]:
    found = dict(names)
    for step in changes:
        if step.what in ("create", "make_folder"):
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
            yield Crash(at, _state(disk, variant, chance), set(disk.acted), set(disk.arrived))


def _state(disk: _Disk, variant: int, chance: random.Random) -> dict[str, bytes | None]:
    if variant == 0:
        kept: list[Step] = []
    elif variant == 1:
        kept = disk.changes
    else:
        kept = [change for change in disk.changes if chance.random() < 0.6]
    names = _renamed(disk.names, kept)
    files: dict[str, bytes | None] = {}
    for name, inode in names.items():
        if str(Path(name).parent) not in (".", *names):
            continue  # nothing in a folder that is not there
        if inode == 0:
            files[name] = None
            continue
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

    def __init__(self, root: Path, leaves_out: str) -> None:
        super().__init__(root)
        self._leaves_out = leaves_out

    def __getattribute__(self, name: str) -> Any:
        if name in ("sync", "sync_path", "sync_folder") and name == object.__getattribute__(
            self, "_leaves_out"
        ):
            return lambda *_: None
        return super().__getattribute__(name)
