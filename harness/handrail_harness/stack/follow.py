"""Following the logs of several child processes, as one stream of prefixed lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path


class Follower:
    """Reads on, at each call of `lines`, where it stopped in each file. Names are the prefixes."""

    def __init__(self, logs: Mapping[str, Path]) -> None:
        self._logs = dict(logs)
        self._places = dict.fromkeys(self._logs, 0)
        self._rests = dict.fromkeys(self._logs, "")

    def lines(self, *, last: bool = False) -> Iterator[tuple[str, str]]:
        """Yield (name, line) of what is new; with `last`, also lines that have no end yet."""
        for name, path in self._logs.items():
            try:
                with path.open("rb") as file:
                    file.seek(self._places[name])
                    new = file.read()
            except FileNotFoundError:
                continue
            self._places[name] += len(new)
            *whole, rest = (self._rests[name] + new.decode("utf-8", "replace")).split("\n")
            self._rests[name] = "" if last else rest
            yield from ((name, line) for line in whole)
            if last and rest:
                yield name, rest
