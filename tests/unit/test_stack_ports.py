"""Ports for servers of one's own: none that the kernel may give to somebody else in the meantime."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from handrail_harness.stack import server
from handrail_harness.stack.server import HOST, free_port


@pytest.fixture
def given_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of the kernel's word on the ports that it gives away: nothing yet."""
    monkeypatch.setattr(server, "_GIVEN_AWAY", tmp_path / "range")
    return tmp_path / "range"


def test_a_port_is_none_that_the_kernel_gives_away(given_away: Path) -> None:
    """It is below the ports that connections and servers get which ask for none in particular."""
    given_away.write_text("32768\t60999\n")
    assert all(server._LOWEST <= free_port() < 32768 for _ in range(50))


def test_a_port_that_is_taken_is_passed_over(given_away: Path) -> None:
    """Where all that are left to us are taken, the kernel is asked for one."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
        given_away.write_text(f"{port + 1}\t60999\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server, "_LOWEST", port)
            assert free_port() != port


@pytest.mark.parametrize("said", [None, "", "1024\t65535\n"], ids=["nothing", "no number", "all"])
def test_where_the_kernel_gives_all_away(given_away: Path, said: str | None) -> None:
    """Without ports of our own, or a word on them, any free one is taken."""
    if said is not None:
        given_away.write_text(said)
    assert free_port() >= 1024
