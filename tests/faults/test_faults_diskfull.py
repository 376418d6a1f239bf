"""A disk that is really full: no effect without a record, reads go on, and everything works again afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handrail_propagation.spool.accounting import account

from .workload import call, find, look, record_into


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(folder)]
    try:
        run = subprocess.run(mount, capture_output=True, text=True, check=False)
        problem = run.stderr.strip() if run.returncode else ""
    except OSError as error:
        problem = str(error)
    if problem:
        reason = f"a tmpfs can only be mounted by root: {problem}"
        if os.environ.get("HANDRAIL_REQUIRE_CONTAINERS", "") not in ("", "0"):
            pytest.fail(f"HANDRAIL_REQUIRE_CONTAINERS is set, and this test was skipped: {reason}")
        pytest.skip(reason)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_effects_and_nothing_else(small_disk: Path, figures: Callable[..., None]) -> None:
    """Calls until the disk is full and on: effects stop, reads do not, and each effect that happened is on record."""
    spool = record_into(small_disk / "spool", segment_size=32 << 10)
    done: set[str] = set()
    refused = looks = 0
    while refused < 50:
        look()
        looks += 1
        if not call(done.add):
            refused += 1
        assert looks < 5000
    found = find(small_disk / "spool")
    writer = spool.writer()
    assert len(done) > 50
    assert done <= found.safe
    assert found.exact
    assert writer.dropped > 0
    figures(
        "disk full",
        effects=len(done),
        effects_without_record=len(done - found.safe),
        refused=refused,
        reads=looks,
        dropped=writer.dropped,
    )


def test_room_again_means_work_again(small_disk: Path) -> None:
    """When there is room again, calls are made again, and the records that waited in memory arrive first."""
    filler = small_disk / "filler"
    spool = record_into(small_disk / "spool")
    done: set[str] = set()
    assert call(done.add)
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
    while call(done.add):
        pass
    before = len(done)
    held = spool.writer().held
    assert held > 0
    assert not call(done.add)
    os.unlink(filler)
    assert call(done.add)
    assert len(done) == before + 1
    assert spool.writer().held == 0
    found = find(small_disk / "spool")
    assert done <= found.safe
    assert len(found.ended) >= len(done) + 2  # the ends of refused calls, too
    assert account(small_disk / "spool").total.is_exact
