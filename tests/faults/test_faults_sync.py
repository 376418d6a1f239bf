"""A disk that reports an error: the call is not made, and the segment that it happened to is never used again."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from handrail_propagation.spool.files import Files

from .workload import call, find, look, record_into


class Flaky(Files):
    """Fails one sync with EIO, once: as the kernel does, which calls the lost pages clean afterwards."""

    def __init__(self) -> None:
        self.fail = False
        self.calls: list[tuple[str, int]] = []

    def sync(self, descriptor: int) -> None:
        self.calls.append(("sync", descriptor))
        if self.fail:
            self.fail = False
            raise OSError(errno.EIO, "Input/output error")
        super().sync(descriptor)

    def write(self, descriptor: int, data: bytes) -> int:
        self.calls.append(("write", descriptor))
        return super().write(descriptor, data)

    def close(self, descriptor: int) -> None:
        self.calls.append(("close", descriptor))
        super().close(descriptor)


def test_an_error_from_sync_retires_the_segment(tmp_path: Path, figures: Callable[..., None]) -> None:
    """Of 20 calls each of which meets EIO none is made; each next one is, in a new segment; reads go on throughout."""
    files = Flaky()
    record_into(tmp_path / "spool", files=files)
    done: set[str] = set()
    again = refused = 0
    for _ in range(20):
        files.calls.clear()
        files.fail = True
        refused += not call(done.add)
        look()
        assert call(done.add)
        failed = next(descriptor for what, descriptor in files.calls if what == "sync")
        after = files.calls[files.calls.index(("sync", failed)) + 1 :]
        # Closed, and until then nothing: descriptors are numbers, and the next segment may get this one again
        again += next(what for what, descriptor in after if descriptor == failed) != "close"
    assert (refused, again, len(done)) == (20, 0, 20)
    found = find(tmp_path / "spool")
    assert done <= found.safe
    assert found.exact
    figures("sync error", refused=refused, effects=len(done), lost=len(done - found.safe), used_again=again)
