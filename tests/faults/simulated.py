"""A simulated worker: a main process and its children, which record, end, die and are wrongly taken for dead."""

from __future__ import annotations

import random
from pathlib import Path

from ..support.spool_scene import Scene


class Process:
    """One that records; `open` are the names of its open spans by id."""

    def __init__(self, scene: Scene, pid: int) -> None:
        self.scene = scene
        self.pid = pid
        self.open: dict[bytes, str] = {}


class Worker:
    """Whatever happens to its processes happens by `chance`; `spans` and `events` are the names of all it recorded."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._folder = folder
        self._chance = chance
        self._scenes: list[Scene] = []
        self.spans: set[str] = set()
        """Of those that have begun: each has to come to one end."""
        self.events: set[str] = set()
        self._main = self._process()
        self._children: list[Process] = []

    @property
    def recorded(self) -> int:
        """How many records there are of all processes, the dead included."""
        return sum(scene.writer.recorded for scene in self._scenes)

    def act(self) -> None:
        """Let one thing happen."""
        things = (self._record, self._end, self._begin, self._die, self._accuse, self._renew)
        (thing,) = self._chance.choices(things, (55, 10, 5, 4, 3, 1))
        thing()

    def die(self) -> None:
        """Let all processes be gone, with what they had open."""
        for process in [*self._children, self._main]:
            process.scene.writer.abandon()

    def _process(self, parent: int = 0) -> Process:
        pid = len(self._scenes) + 1
        scene = Scene(self._folder, pid=pid, parent_pid=parent, ids=self._chance.randbytes, segment_size=4096)
        scene.writer.id = self._chance.getrandbits(64)
        self._scenes.append(scene)
        return Process(scene, pid)

    def _somebody(self) -> Process:
        return self._chance.choice([self._main, *self._children])

    def _record(self) -> None:
        process = self._somebody()
        for _ in range(self._chance.randint(1, 8)):
            name = str(len(self.spans) + len(self.events))
            what = self._chance.random()
            if what < 0.35:
                process.scene.event(name)
                self.events.add(name)
                continue
            is_short = what < 0.75
            key = process.scene.span(name, ended=is_short)
            self.spans.add(name)
            if not is_short:
                process.open[key] = name

    def _end(self) -> None:
        process = self._somebody()
        if process.open:
            key = self._chance.choice(list(process.open))
            process.scene.end(key, process.open.pop(key))

    def _begin(self) -> None:
        if len(self._children) < 4:
            self._children.append(self._process(self._main.pid))

    def _die(self) -> None:
        """A child ends in good order or is killed, of which the main process may know."""
        if not self._children:
            return
        child = self._children.pop(self._chance.randrange(len(self._children)))
        if not child.open and self._chance.random() < 0.5:
            child.scene.writer.close()
            return
        child.scene.writer.abandon()
        if self._chance.random() < 0.5:
            for key in list(child.open)[: self._chance.randint(1, 2)]:
                self._main.scene.end(key, child.open[key], abandoned="signal 9 (SIGKILL)")

    def _accuse(self) -> None:
        """The main process calls a span lost that its child may end yet."""
        at_work = [child for child in self._children if child.open]
        if at_work:
            child = self._chance.choice(at_work)
            key = self._chance.choice(list(child.open))
            self._main.scene.end(key, child.open[key], abandoned="lost")

    def _renew(self) -> None:
        """The worker dies as a whole, and another one comes."""
        self.die()
        self._main, self._children = self._process(), []


class Quarrelling(Worker):
    """One whose main process is wrong or late more often than right, and whose children have much to say meanwhile."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        super().__init__(folder, chance)
        self._unspoken: list[tuple[bytes, str]] = []
        """Ended spans of dead children that the main process has not called lost yet, though it will."""

    def act(self) -> None:
        """Let one thing happen."""
        things = (self._record, self._end, self._begin, self._die, self._quarrel, self._speak, self._renew)
        (thing,) = self._chance.choices(things, (30, 5, 5, 3, 15, 5, 1))
        thing()

    def _quarrel(self) -> None:
        """A child is called lost, ends its span, and begins its next segment in no time."""
        if not self._children:
            return
        child = self._chance.choice(self._children)
        name = str(len(self.spans) + len(self.events))
        key = child.scene.span(name, ended=False)
        self.spans.add(name)
        self._main.scene.end(key, name, abandoned="lost")
        child.scene.end(key, name)
        for number in range(self._chance.randint(0, 60)):
            event = f"{name}.{number}"
            child.scene.event(event)
            self.events.add(event)

    def _die(self) -> None:
        """A child is killed in its span, which is said at once, or with its answer on the way, which is said later."""
        if not self._children:
            return
        child = self._children.pop(self._chance.randrange(len(self._children)))
        name = str(len(self.spans) + len(self.events))
        self.spans.add(name)
        is_ended = self._chance.random() < 0.5
        key = child.scene.span(name, ended=is_ended)
        child.scene.writer.abandon()
        if is_ended:
            self._unspoken.append((key, name))
        else:
            self._main.scene.end(key, name, abandoned="signal 9 (SIGKILL)")

    def _speak(self) -> None:
        if self._unspoken:
            self._main.scene.end(*self._unspoken.pop(0), abandoned="signal 9 (SIGKILL)")

    def _renew(self) -> None:
        super()._renew()
        self._unspoken = []
