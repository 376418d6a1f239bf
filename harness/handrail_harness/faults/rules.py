"""Faults inside of processes, as files: what this process asks for, and what another process has done of it.

A folder reaches producers and workers that are running already, whatever they are connected to. No Celery in here.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from handrail_harness.faults.injected import Bite

FOLDER_VARIABLE = "HANDRAIL_FAULTS_DIR"
"""The folder of rules; a process without it is left alone."""
OWN_VARIABLE = "HANDRAIL_FAULTS_OF_WORKER"
"""Ids of the rules that are about the very worker that has the variable, comma-separated."""

Kind = Literal[
    "drop_header", "garble_header", "oversize_header", "lose_ack", "uninstrumented", "clock", "recycled"
]
_RULES = "rules.json"


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault for the processes to act on.

    `task` and `queue` say which messages (empty: any), `times` how often at most (0: always). `size` is the length
    of an oversized header in bytes, `offset_ns` what is added to a clock.
    """

    id: str
    kind: Kind
    task: str = ""
    queue: str = ""
    header: str = ""
    times: int = 1
    size: int = 0
    offset_ns: int = 0

    def matches(self, task: str, queue: str) -> bool:
        """Return whether a message of `task` on `queue` is meant."""
        return self.task in ("", task) and self.queue in ("", queue)


class Rules:
    """The rules in a folder, and the bites that processes have left there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: tuple[int, int] | None = None
        self._rules: tuple[Rule, ...] = ()

    def read(self) -> tuple[Rule, ...]:
        """Return the rules in force; cheap when they have not changed."""
        path = self.folder / _RULES
        try:
            status = path.stat()
            seen = (status.st_ino, status.st_mtime_ns)
            if seen != self._seen:
                self._rules = tuple(Rule(**entry) for entry in json.loads(path.read_bytes()))
                self._seen = seen
        except FileNotFoundError:
            self._rules, self._seen = (), None
        return self._rules

    def add(self, rule: Rule) -> None:
        """Put a rule in force."""
        self._write((*self.read(), rule))

    def remove(self, rule: Rule) -> None:
        """Take a rule away; its bites stay readable."""
        self._write(tuple(one for one in self.read() if one.id != rule.id))

    def claim(self, rule: Rule, **detail: str | int) -> bool:
        """Take one of the times that a rule may bite, across all processes; return whether one was left."""
        text = json.dumps({**detail, "pid": os.getpid()})
        draft = self.folder / f".{secrets.token_hex(8)}"
        draft.write_text(text, encoding="utf-8")
        try:
            number = 0
            while not rule.times or number < rule.times:
                with contextlib.suppress(FileExistsError):
                    # A link and not a rename: it fails where the name is taken, and is whole when it is there.
                    os.link(draft, self.folder / f"{rule.id}.{number:06}.bite")
                    return True
                number += 1
            return False
        finally:
            draft.unlink()

    def bites(self, rule: Rule) -> list[Bite]:
        """Return the bites of a rule, in their order."""
        return [Bite(json.loads(path.read_bytes())) for path in sorted(self.folder.glob(f"{rule.id}.*.bite"))]

    def _write(self, rules: tuple[Rule, ...]) -> None:
        draft = self.folder / f".{secrets.token_hex(8)}"
        draft.write_text(json.dumps([asdict(rule) for rule in rules]), encoding="utf-8")
        draft.replace(self.folder / _RULES)
