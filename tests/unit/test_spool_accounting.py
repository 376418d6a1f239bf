"""The account is exact after any damage, and the command line tells it."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from handrail_harness.cli.app import app
from handrail_propagation.forward.quarantine import Quarantine
from handrail_propagation.spool import accounting
from handrail_propagation.spool.accounting import Account, account
from handrail_propagation.spool.ledger import Entry, Ledger, Totals
from handrail_propagation.spool.reader import Cursor, WriterState, read, segments, survey
from handrail_propagation.spool.rebuilt import load_all
from handrail_propagation.spool.record import Kind, Record
from handrail_propagation.spool.segments import path_of
from handrail_propagation.spool.writer import Writer


def _written(folder: Path, records: int, *, segment_size: int = 4096) -> Writer:
    writer = Writer(folder, b"", segment_size=segment_size)
    for number in range(records):
        writer.append(Kind.LOG, b"record %d " % number * 5, origin=b"here")
    writer.close()
    return writer


def _exact(found: Account) -> None:
    assert found.total.is_exact
    assert all(line.is_exact for line in found.writers)


def _cursor(folder: Path, writer: int, sequence: int) -> Cursor:
    """Where the record with this number ends."""
    for file in segments(folder)[writer]:
        for item in read(file):
            if isinstance(item, Record) and item.sequence == sequence:
                return Cursor(file.index, item.end, sequence)
    raise AssertionError(f"no record {sequence}")


def test_what_nobody_has_forwarded_is_pending(tmp_path: Path) -> None:
    """A folder without a forwarder: everything recorded is pending."""
    writer = _written(tmp_path, 100)
    found = account(tmp_path)
    (line,) = found.writers
    assert (line.recorded, line.delivered, line.pending, line.quarantined) == (
        writer.recorded,
        0,
        writer.recorded,
        0,
    )
    _exact(found)


def test_what_every_destination_has_is_delivered(tmp_path: Path) -> None:
    """With two destinations a record is delivered when both have it, also when its segment is gone."""
    writer = _written(tmp_path, 200)
    for destination, sequence in (("http://one", 150), ("http://two", 120)):
        ledger = Ledger(destination)
        ledger.writers[writer.id] = Entry(_cursor(tmp_path, writer.id, sequence))
        ledger.save(tmp_path)
    segments(tmp_path)[writer.id][0].path.unlink()
    found = account(tmp_path)
    (line,) = found.writers
    assert (line.recorded, line.delivered, line.pending, line.quarantined) == (
        writer.recorded,
        120,
        writer.recorded - 120,
        0,
    )
    assert found.destinations == ["http://one", "http://two"]
    _exact(found)


def test_a_writer_that_is_done_stays_in_the_total(tmp_path: Path) -> None:
    """A writer whose segments were all forwarded and deleted is counted, and does not grow the ledger."""
    writer = _written(tmp_path, 50)
    ledger = Ledger("there")
    ledger.writers[writer.id] = Entry(_cursor(tmp_path, writer.id, writer.recorded), quarantined=3)
    for file in segments(tmp_path)[writer.id]:
        file.path.unlink()
    ledger.save(tmp_path)
    _exact(account(tmp_path))
    ledger.finish(writer.id)
    ledger.save(tmp_path)
    found = account(tmp_path)
    assert not found.writers
    assert (found.total.recorded, found.total.delivered, found.total.quarantined) == (
        writer.recorded,
        writer.recorded - 3,
        3,
    )
    _exact(found)


def test_a_ledger_that_is_rubbish_delivers_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An unreadable ledger is said and taken for empty: at least once, never lost."""
    writer = _written(tmp_path, 10)
    ledger = Ledger("there")
    ledger.save(tmp_path)
    (path,) = (tmp_path / "ledger").iterdir()
    for rubbish in (b"", b"{", b"[1]", b'{"version": 1}', b'{"version": 7}', b"[" * 100_000, b"\xff"):
        path.write_bytes(rubbish)
        caplog.clear()
        assert [found.writers for found in load_all(tmp_path)] == [{}]
        assert "delivered again" in caplog.text
    assert account(tmp_path).total.pending == writer.recorded


def test_what_has_gone_before_a_ledger_was_spoilt_is_delivered(tmp_path: Path) -> None:
    """Segments are deleted when they are delivered: an unreadable ledger makes no loss of their records."""
    writer = _written(tmp_path, 1000)
    files = segments(tmp_path)[writer.id]
    for file in files[:3]:
        file.path.unlink()
    first = next(item for item in read(files[3]) if isinstance(item, Record))
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "there.json").write_bytes(b"rubbish")
    found = account(tmp_path)
    _exact(found)
    assert not found.writers[0].lost
    assert found.total.delivered == first.sequence - 1
    assert found.total.pending == writer.recorded - first.sequence + 1


def test_no_flipped_bit_in_a_ledger_skips_a_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever a bit flips, the ledger says what it said before, or is said to be unreadable and nothing is skipped."""
    writer = _written(tmp_path, 10)
    ledger = Ledger("there")
    ledger.writers[writer.id] = Entry(_cursor(tmp_path, writer.id, 4))
    ledger.save(tmp_path)
    (path,) = (tmp_path / "ledger").iterdir()
    whole = path.read_bytes()
    unreadable = 0
    for place in range(len(whole)):
        for bit in (0, 5):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            caplog.clear()
            found = load_all(tmp_path)
            assert found in ([Ledger(path.stem)], [ledger])
            assert (found != [ledger]) == ("delivered again" in caplog.text)
            unreadable += found != [ledger]
    assert unreadable > len(whole)


def test_what_is_delivered_while_it_is_counted_is_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often segments are delivered and deleted during a count, none of their records is taken for lost."""
    writer = _written(tmp_path, 1000)
    left = [file for file in segments(tmp_path)[writer.id] if file.index > 1]
    assert len(left) > 10

    def meanwhile(folder: Path, after: Mapping[int, Cursor]) -> list[WriterState]:
        """The ledgers have been read; now the next segment but one begins to be delivered, and one goes."""
        ledger = Ledger("there")
        first = next(item for item in read(left[0]) if isinstance(item, Record))
        ledger.writers[writer.id] = Entry(Cursor(left[0].index, first.end, first.sequence))
        ledger.save(folder)
        path_of(folder, writer.id, left[0].index - 1).unlink()
        del left[0]
        return survey(folder, after)

    monkeypatch.setattr(accounting, "survey", meanwhile)
    for _ in range(2):
        found = account(tmp_path)
        assert (found.total.recorded, found.total.quarantined) == (writer.recorded, 0)
        assert 0 < found.total.delivered < writer.recorded
        assert not found.writers[0].lost
        _exact(found)


def test_who_comes_while_others_are_counted_is_counted_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer of which the ledgers say something that was not there when the folder was read makes no minus."""
    _written(tmp_path, 5)

    def meanwhile(folder: Path, after: Mapping[int, Cursor]) -> list[WriterState]:
        states = survey(folder, after)
        writer = _written(folder, 10)
        ledger = Ledger("there")
        ledger.writers[writer.id] = Entry(_cursor(folder, writer.id, writer.recorded))
        ledger.save(folder)
        return states

    monkeypatch.setattr(accounting, "survey", meanwhile)
    found = account(tmp_path)
    assert [line.recorded for line in found.writers] == [8]
    assert [line.pending for line in found.by_destination] == [8]
    monkeypatch.undo()
    assert account(tmp_path).total.recorded == 8 + 13


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), faults=st.integers(1, 12), settle=st.booleans())
def test_the_account_is_exact_after_any_damage(
    tmp_path_factory: pytest.TempPathFactory, seed: int, faults: int, settle: bool
) -> None:
    """Flipped bits, torn tails, cut-out and rubbish bytes, lost segments, in any number: the account is exact."""
    folder = tmp_path_factory.mktemp("spool")
    chance = random.Random(seed)
    writer = _written(folder, 60, segment_size=4096)
    if settle:
        ledger = Ledger("there")
        ledger.writers[writer.id] = Entry(_cursor(folder, writer.id, chance.randint(1, writer.recorded)))
        ledger.save(folder)
    for _ in range(faults):
        files = [file.path for file in segments(folder).get(writer.id, []) if file.size()]
        if not files:
            break
        path = chance.choice(files)
        data = bytearray(path.read_bytes())
        place = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data[place] ^= 1 << chance.randrange(8)
            case 1:
                del data[place:]
            case 2:
                del data[place : place + chance.randint(1, 300)]
            case 3:
                data[place:place] = chance.randbytes(chance.randint(1, 100))
            case 4:
                path.unlink()
                continue
        path.write_bytes(data)
    _exact(account(folder))


def test_one_flip_costs_one_record_wherever_it_is(tmp_path: Path) -> None:
    """The account names exactly one record as quarantined for one flipped bit, and its place."""
    writer = _written(tmp_path, 3)
    (path,) = tmp_path.glob("*.seg")
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = account(tmp_path)
        (line,) = found.writers
        assert (line.recorded, line.quarantined, len(line.damages)) == (writer.recorded, 1, 1)
        assert line.damages[0].damage.offset <= place < line.damages[0].damage.end
        _exact(found)


def test_status_for_programs(tmp_path: Path) -> None:
    """`handrail spool status DIR --json` prints the whole account; exit status 0 while nothing is lost."""
    writer = _written(tmp_path, 10)
    result = CliRunner().invoke(app, ["spool", "status", str(tmp_path), "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["total"]["recorded"] == document["total"]["pending"] == writer.recorded
    assert document["total"]["exact"] is True
    assert [line["writer"] for line in document["writers"]] == [f"{writer.id:016x}"]


def test_status_for_people_names_what_is_lost(tmp_path: Path) -> None:
    """Damage is printed with file and offset, never silent, and the exit status is 1."""
    _written(tmp_path, 10)
    (path,) = tmp_path.glob("*.seg")
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)
    result = CliRunner().invoke(app, ["spool", "status"], env={"HANDRAIL_SPOOL_DIR": str(tmp_path)})
    assert result.exit_code == 1
    assert path.name in result.output
    assert "checksum" in result.output
    assert "places.jsonl" not in result.output
    Quarantine(tmp_path).damaged([place for line in account(tmp_path).writers for place in line.damages])
    result = CliRunner().invoke(app, ["spool", "status", str(tmp_path)])
    assert str(tmp_path / "quarantine" / "places.jsonl") in result.output


def test_no_number_is_cut_short_on_a_narrow_terminal(tmp_path: Path) -> None:
    """80 columns have room for every heading and for millions of records; the process gives way."""
    writer = _written(tmp_path, 3)
    ledger = Ledger("there")
    ledger.finished = Totals(1, 123_456_789, 0, 0)
    ledger.save(tmp_path)
    result = CliRunner().invoke(app, ["spool", "status", str(tmp_path)], env={"COLUMNS": "80"})
    for word in (
        "recorded",
        "delivered",
        "pending",
        "quarantined",
        "dropped",
        "123,456,789",
        f"{writer.id:016x}",
    ):
        assert word in result.output
    assert "…" not in result.output


def test_status_of_nothing_is_one_clear_line(tmp_path: Path) -> None:
    """No folder given, or one that does not exist: one line, exit status 2."""
    import subprocess
    import sys

    for arguments, said in (([], "HANDRAIL_SPOOL_DIR"), ([str(tmp_path / "none")], "none")):
        run = subprocess.run(
            [sys.executable, "-m", "handrail_harness.cli", "spool", "status", *arguments],
            capture_output=True,
            text=True,
            env={key: value for key, value in os.environ.items() if key != "HANDRAIL_SPOOL_DIR"},
        )
        assert run.returncode == 2
        assert said in run.stderr
        assert "Traceback" not in run.stderr


def test_status_of_a_folder_without_records_says_so(tmp_path: Path) -> None:
    """An empty folder is no empty table: the line asks whether it is the right one; nothing is lost, exit status 0."""
    result = CliRunner().invoke(app, ["spool", "status", str(tmp_path)])
    assert result.exit_code == 0
    assert "nothing has been recorded in" in result.output
