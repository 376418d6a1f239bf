"""Whether a folder has moved since it was read: nothing that comes in may be overlooked, and little may be asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from handrail_propagation.forward import shipper as shipping
from handrail_propagation.forward.destination import Destination
from handrail_propagation.forward.forwarder import Forwarder
from handrail_propagation.forward.outcome import Accepted, Outcome
from handrail_propagation.forward.wire import Signal
from handrail_propagation.spool.files import Files
from handrail_propagation.spool.identity import Identity
from handrail_propagation.spool.record import Kind
from handrail_propagation.spool.writer import Writer


class Nowhere:
    """A destination that takes everything."""

    signals = frozenset(Signal)

    def send(self, signal: Signal, body: bytes) -> Outcome:
        return Accepted()

    def close(self) -> None:
        pass


def _writer(folder: Path) -> Writer:
    # Of another boot: nobody can be asked whether its process lives, so its lock decides
    return Writer(folder, Identity(pid=1, boot_id="another").encode(), segment_size=4096)


def _rest(folder: Path) -> None:
    """Let the last change in a folder be a while ago."""
    os.utime(folder, (1e9, 1e9))


@pytest.fixture
def forwarder(tmp_path: Path) -> Forwarder:
    made = Forwarder(tmp_path, [Destination("nowhere", Nowhere())])
    assert made.elect()
    return made


def test_a_folder_at_rest_is_quiet_until_something_comes(tmp_path: Path, forwarder: Forwarder) -> None:
    """A record, a new segment and a new writer are each noticed; between them nothing is read again."""
    writer, other = _writer(tmp_path), _writer(tmp_path)
    shipper = forwarder.shippers[0]
    assert not shipper.is_quiet
    steps: list[Callable[[], object]] = [
        lambda: writer.append(Kind.LOG, b"first"),
        lambda: writer.append(Kind.LOG, b"another"),
        lambda: [writer.append(Kind.LOG, bytes(3000)) for _ in range(3)],
        lambda: other.append(Kind.LOG, b"of another"),
    ]
    for number, come in enumerate(steps):
        come()
        assert not shipper.is_quiet, number
        _rest(tmp_path)
        shipper.round()
        assert shipper.has_moved
        _rest(tmp_path)
        shipper.round()
        assert not shipper.has_moved
        assert shipper.is_quiet
    forwarder.stop()
    writer.close()
    other.close()


def test_a_change_in_the_same_moment_is_not_overlooked(tmp_path: Path, forwarder: Forwarder) -> None:
    """A folder that has changed just now may change again under the same time: it is read again."""
    writer = _writer(tmp_path)
    writer.append(Kind.LOG, b"first")
    os.utime(tmp_path)
    shipper = forwarder.shippers[0]
    shipper.round()
    os.utime(tmp_path)
    shipper.round()
    assert not shipper.is_quiet
    forwarder.stop()
    writer.close()


def test_a_folder_is_read_again_after_a_while(
    tmp_path: Path, forwarder: Forwarder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The death of a writer changes nothing in the folder, and is found out all the same."""
    writer = _writer(tmp_path)
    writer.append(Kind.LOG, b"first")
    shipper = forwarder.shippers[0]
    shipper.round()
    _rest(tmp_path)
    shipper.round()
    assert shipper.is_quiet
    monkeypatch.setattr(shipping, "LOOK_EVERY", 0.0)
    assert not shipper.is_quiet
    forwarder.stop()
    writer.close()


def test_a_folder_that_is_gone_is_not_quiet(tmp_path: Path) -> None:
    """What cannot be looked at is read, which says why."""
    folder = tmp_path / "spool"
    folder.mkdir()
    made = Forwarder(folder, [Destination("nowhere", Nowhere())])
    assert made.elect()
    _rest(folder)
    made.shippers[0].round()
    assert made.shippers[0].is_quiet
    folder.rename(tmp_path / "elsewhere")
    assert not made.shippers[0].is_quiet
    made.stop()


class Syncs(Files):
    """Keeps which folders were synced."""

    def __init__(self) -> None:
        self.folders: list[Path] = []

    def sync_folder(self, folder: Path) -> None:
        self.folders.append(folder)
        super().sync_folder(folder)


def test_names_are_synced_once(tmp_path: Path) -> None:
    """What is sent is on disk with its name: a new segment's name is synced, one that has been is not."""
    files = Syncs()
    forwarder = Forwarder(tmp_path, [Destination("nowhere", Nowhere())], files=files)
    assert forwarder.elect()
    writer = _writer(tmp_path)
    synced = []
    for size in (10, 10, 5000, 10):  # the third fills a segment, so that the last begins another
        writer.append(Kind.LOG, bytes(size))
        files.folders.clear()
        forwarder.shippers[0].round()
        synced.append(files.folders.count(tmp_path) > 0)
    assert synced[:2] == [True, False]
    assert synced[3]
    forwarder.stop()
    writer.close()
