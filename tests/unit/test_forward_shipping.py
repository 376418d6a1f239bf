"""What is sent, how often, and what the ledger says of it: a forwarder with destinations that do as they are told."""

from __future__ import annotations

import errno
import os
import random
import secrets
import shutil
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from handrail_propagation import conventions as names
from handrail_propagation.forward import quarantine as quarantining
from handrail_propagation.forward import retry
from handrail_propagation.forward import shipper as shipping
from handrail_propagation.forward.destination import Destination
from handrail_propagation.forward.forwarder import LOCK, Forwarder
from handrail_propagation.forward.outcome import Accepted, Declined, Later, Outcome, Refused
from handrail_propagation.forward.sending import Stopped
from handrail_propagation.forward.wire import Signal
from handrail_propagation.spool.accounting import account
from handrail_propagation.spool.files import Files
from handrail_propagation.spool.ledger import path_of
from handrail_propagation.spool.reader import SegmentFile, read, segments
from handrail_propagation.spool.record import Kind, Record
from handrail_propagation.spool.segments import path_of as path_of_segment
from handrail_propagation.spool.writer import NotRecorded, Writer

from ..support.spool_scene import Scene, There, origin, record_ids


def forward(folder: Path, *there: There, names: tuple[str, ...] = ("one", "two")) -> Forwarder:
    """Forward until nothing is left, in this thread; return the forwarder, which has let go of the folder."""
    found = [Destination(name, transport) for name, transport in zip(names, there, strict=False)]
    forwarder = Forwarder(folder, found)
    assert forwarder.elect()
    for shipper in forwarder.shippers:
        shipper.round(patient=False)
    for shipper in forwarder.shippers:
        shipper.round(patient=False)
    forwarder.stop()
    return forwarder


def test_what_arrives_is_what_was_recorded(tmp_path: Path) -> None:
    """Spans and events arrive under their resource and scope, in order, each with its record's id."""
    scene = Scene(tmp_path)
    for number in range(5):
        scene.span(f"span {number}")
        scene.event(f"event {number}")
    scene.writer.close()
    there = There()
    forward(tmp_path, there)
    assert [span.name for span in there.spans] == [f"span {number}" for number in range(5)]
    assert [event.event_name for event in there.events] == [f"event {number}" for number in range(5)]
    assert all(span.end_time_unix_nano == 2000 for span in there.spans)
    ids = record_ids(there.spans) + record_ids(there.events)
    assert len(set(ids)) == 10
    assert all(found.startswith(f"{scene.writer.id:016x}-") for found in ids)
    traces, logs = there.requests
    assert isinstance(traces, ExportTraceServiceRequest)
    assert isinstance(logs, ExportLogsServiceRequest)
    expected = ResourceSpans.FromString(origin())
    assert len(traces.resource_spans) == len(logs.resource_logs) == 1
    spans_of, logs_of = traces.resource_spans[0], logs.resource_logs[0]
    assert spans_of.resource == logs_of.resource == expected.resource
    assert spans_of.schema_url == logs_of.schema_url == "https://outer"
    assert spans_of.scope_spans[0].scope == logs_of.scope_logs[0].scope == expected.scope_spans[0].scope
    assert spans_of.scope_spans[0].schema_url == logs_of.scope_logs[0].schema_url == "https://inner"


def test_what_is_delivered_is_deleted_and_counted(tmp_path: Path) -> None:
    """A writer that is gone leaves nothing but its line in the totals."""
    scene = Scene(tmp_path, segment_size=4096)
    for number in range(200):
        scene.span(f"span {number}")
    recorded = scene.writer.recorded
    scene.writer.close()
    assert len(segments(tmp_path)[scene.writer.id]) > 3
    there = There()
    forward(tmp_path, there)
    assert len(there.spans) == 200
    assert segments(tmp_path) == {}
    assert not list(tmp_path.glob("*.open"))
    total = account(tmp_path).total
    assert (total.recorded, total.delivered) == (recorded + 1, recorded + 1)
    forward(tmp_path, there)
    assert len(there.spans) == 200


def test_a_living_writer_keeps_its_last_segment(tmp_path: Path) -> None:
    """What a writer goes on writing arrives in the next round, nothing twice; full segments are deleted meanwhile."""
    scene = Scene(tmp_path, segment_size=4096)
    there = There()
    for round_ in range(5):
        for number in range(40):
            scene.span(f"span {round_} {number}")
        forward(tmp_path, there)
        assert len(segments(tmp_path)[scene.writer.id]) == 1
    assert [span.name for span in there.spans] == [
        f"span {round_} {number}" for round_ in range(5) for number in range(40)
    ]
    assert len(set(record_ids(there.spans))) == 200
    assert account(tmp_path).total.pending == 0


def test_open_spans_outlive_their_segment(tmp_path: Path) -> None:
    """A span that is open while its segment is deleted is ended when its process is gone, once, also after restarts."""
    scene = Scene(tmp_path, segment_size=4096)
    there = There()
    key = scene.span("long", ended=False)
    for _ in range(3):
        for _ in range(60):
            scene.span("short")
        forward(tmp_path, there)
    assert segments(tmp_path)[scene.writer.id][0].index > 1
    line = account(tmp_path)
    assert line.total.is_exact
    assert line.total.pending == 1
    scene.writer.abandon()
    last_words = max(file.path.stat().st_mtime_ns for file in segments(tmp_path)[scene.writer.id])
    forward(tmp_path, there)
    (span,) = [span for span in there.spans if span.name == "long"]
    assert span.span_id == key
    assert span.status.code == 2
    assert span.end_time_unix_nano == last_words
    attributes = {pair.key: pair.value for pair in span.attributes}
    assert attributes[names.ERROR_TYPE].string_value == names.ERROR_WORKER_LOST
    assert attributes[names.ABANDONED].bool_value
    assert attributes[names.RECORD_ID].string_value == f"{scene.writer.id:016x}-3"
    total = account(tmp_path).total
    assert (total.pending, total.delivered) == (0, total.recorded)
    assert not list(tmp_path.glob("*.open"))


def test_a_refusal_is_counted_once_however_often_its_batch_is_sent(tmp_path: Path) -> None:
    """The disk fails while the second of two refusals is written down: both are found again, and counted once."""

    class Failing(Files):
        said = 0

        def write(self, descriptor: int, data: bytes) -> int:
            if b'"rejected"' in data:
                self.said += 1
                if self.said == 2:
                    raise OSError(errno.EIO, "broken")
            return super().write(descriptor, data)

    scene = Scene(tmp_path)
    for name in ("good", "bad", "worse"):
        scene.span(name)
    scene.writer.close()
    there = There(lambda _, items: Accepted() if items == ["good"] else Refused("no"))
    forwarder = Forwarder(tmp_path, [Destination("one", there)], files=Failing())
    assert forwarder.elect()
    with pytest.raises(OSError, match="broken"):
        forwarder.shippers[0].round(patient=False)
    forwarder.shippers[0].round(patient=False)
    forwarder.stop()
    total = account(tmp_path).total
    assert (total.recorded, total.quarantined, total.pending) == (scene.writer.recorded, 2, 0)


def test_a_flipped_bit_in_a_carried_start_is_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A span whose carried start cannot be read any more is in quarantine, once, and its neighbours are well."""
    scene = Scene(tmp_path, segment_size=4096)
    there = There()
    for name in ("first", "second", "third"):
        scene.span(name, ended=False)
    for _ in range(60):
        scene.span("short")
    forward(tmp_path, there)
    (path,) = tmp_path.glob("*.open")
    whole = path.read_bytes()
    place = whole.index(b"second")
    path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
    for _ in range(2):  # the second one does not count it again
        forward(tmp_path, there)
        total = account(tmp_path).total
        assert (total.pending, total.quarantined) == (2, 1)
    assert path.name in (tmp_path / "quarantine" / "places.jsonl").read_text()
    assert f"{path} at " in caplog.text
    scene.writer.abandon()
    forward(tmp_path, there)
    assert sorted(span.name for span in there.spans if span.name != "short") == ["first", "third"]
    total = account(tmp_path).total
    assert (total.pending, total.quarantined) == (0, 1)


def test_a_segment_that_was_kept_is_read_again_before_it_goes(tmp_path: Path) -> None:
    """A kill between ledger and deletion: the next forwarder keeps what is open in there, whoever is read first."""

    class Killed(Files):
        def unlink(self, path: Path) -> None:
            if path.suffix == ".seg":
                raise KeyboardInterrupt
            super().unlink(path)

    other, scene = Scene(tmp_path), Scene(tmp_path, segment_size=4096)
    other.writer.id, scene.writer.id = 1, 2
    there = There()
    other.span("other")
    scene.span("long", ended=False)
    for _ in range(60):
        scene.span("short")
    killed = Forwarder(tmp_path, [Destination("one", there)], files=Killed())
    assert killed.elect()
    with pytest.raises(KeyboardInterrupt):
        killed.shippers[0].round()
    killed.stop()
    assert segments(tmp_path)[2][0].index == 1
    other.span("other")
    after = Forwarder(
        tmp_path, [Destination("one", there, max_bytes=1)]
    )  # each record is sent when it is read
    assert after.elect()
    after.shippers[0].round()
    after.stop()
    assert segments(tmp_path)[2][0].index > 1
    scene.writer.abandon()
    forward(tmp_path, there)
    assert [span.name for span in there.spans if span.name == "long"] == ["long"]


def test_open_spans_outlive_a_segment_that_could_not_be_made(tmp_path: Path) -> None:
    """A full disk leaves a number out between two segments: what was open at the end of the first is still known."""

    class Full(Files):
        is_full = False

        def create(self, path: Path) -> int:
            if self.is_full:
                raise OSError(errno.ENOSPC, "full")
            return super().create(path)

    scene, there, files = Scene(tmp_path, segment_size=4096), There(), Full()
    scene.writer = Writer(tmp_path, scene.writer._identity, segment_size=4096, files=files)
    scene.span("long", ended=False)
    while scene.writer.held < 3:
        scene.span("short")
        files.is_full = True
    files.is_full = False
    scene.span("short")
    assert [file.index for file in segments(tmp_path)[scene.writer.id]][:2] == [1, 6]
    forward(tmp_path, there)
    assert segments(tmp_path)[scene.writer.id][0].index == 6
    scene.writer.abandon()
    forward(tmp_path, there)
    assert [span.name for span in there.spans if span.name == "long"] == ["long"]


def test_a_span_that_was_carried_and_ended_has_no_second_end_after_a_restart(tmp_path: Path) -> None:
    """One destination has everything, the other nothing: what is kept for that one opens no span anew at the first."""
    main, child = Scene(tmp_path), Scene(tmp_path, segment_size=4096)
    here, there = There(), There()
    key = child.span("long", ended=False)
    for _ in range(60):
        child.span("short")
    forward(tmp_path, here, there)
    assert list(tmp_path.glob("*.open"))
    main.end(key, "long", abandoned="lost")  # which is wrong
    child.end(key, "long")
    child.writer.abandon()
    for _ in range(2):
        found = [Destination("one", here), Destination("two", there)]
        forwarder = Forwarder(tmp_path, found)
        assert forwarder.elect()
        forwarder.shippers[0].round(patient=False)  # the other one does not come to an end
        forwarder.stop()
    assert len([span for span in here.spans if span.name == "long"]) == 1


class KilledAfterDeletion(Files):
    """A forwarder's, which is killed as soon as it has deleted a segment."""

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        if path.suffix == ".seg":
            raise KeyboardInterrupt


def test_nothing_is_left_of_what_was_carried_when_a_kill_comes_in_between(tmp_path: Path) -> None:
    """A writer that is done everywhere: its carried starts go before the segments by which they would be found."""

    scene, there = Scene(tmp_path, segment_size=4096), There()
    scene.span("long", ended=False)
    for _ in range(60):
        scene.span("short")
    forward(tmp_path, there)
    assert list(tmp_path.glob("*.open"))
    scene.writer.abandon()
    killed = Forwarder(tmp_path, [Destination("one", there)], files=KilledAfterDeletion())
    assert killed.elect()
    with pytest.raises(KeyboardInterrupt):
        killed.shippers[0].round(patient=False)
    killed.stop()
    forward(tmp_path, there)
    assert not segments(tmp_path)
    assert not list(tmp_path.glob("*.open"))


def test_what_was_said_of_a_dead_child_stays_until_the_child_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill right after the main process's word has arrived, and its segment could go: no second end comes of it."""

    monkeypatch.setattr(shipping, "SAVE_EVERY", 0.0)
    main, child, there = Scene(tmp_path, segment_size=4096), Scene(tmp_path), There()
    key = child.span("lost", ended=False)
    main.end(key, "lost", abandoned="signal 9")
    for _ in range(60):
        main.span("short")
    child.writer.abandon()
    killed = Forwarder(tmp_path, [Destination("one", there, max_bytes=1)], files=KilledAfterDeletion())
    assert killed.elect()
    with pytest.raises(KeyboardInterrupt):
        killed.shippers[0].round(patient=False)
    killed.stop()
    forward(tmp_path, there)
    main.writer.abandon()
    forward(tmp_path, there)
    assert len(set(record_ids([span for span in there.spans if span.name == "lost"]))) == 1
    assert not segments(tmp_path)


def test_what_was_said_of_a_child_is_read_before_the_child_s_own_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill after a child's own end has arrived, and is deleted: what was said before of that span ends it no more."""

    monkeypatch.setattr(shipping, "SAVE_EVERY", 0.0)
    child, main = Scene(tmp_path, pid=2, parent_pid=1, segment_size=4096), Scene(tmp_path, pid=1)
    child.writer.id, main.writer.id = 1, 2
    there = There()
    key = child.span("long", ended=False)
    main.end(key, "long", abandoned="lost")  # which is wrong
    child.end(key, "long")
    for _ in range(60):
        child.span("short")
    main.span("short")
    killed = Forwarder(tmp_path, [Destination("one", there, max_bytes=1)], files=KilledAfterDeletion())
    assert killed.elect()
    with pytest.raises(KeyboardInterrupt):
        killed.shippers[0].round()
    killed.stop()
    assert segments(tmp_path)[child.writer.id][0].index > 1
    for scene in (child, main):
        scene.writer.abandon()
    forward(tmp_path, there)
    assert len(set(record_ids([span for span in there.spans if span.name == "long"]))) == 1
    assert not segments(tmp_path)


def test_what_was_said_of_a_child_stays_also_before_the_ledger_has_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word on a dead child was settled before anything of the child is: a kill once it has arrived ends nothing."""

    class Killed(There):
        def send(self, signal: Signal, body: bytes) -> Outcome:
            outcome = super().send(signal, body)
            if any(span.name == "of the child" for span in self.spans):
                raise KeyboardInterrupt
            return outcome

    monkeypatch.setattr(shipping, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(retry, "FIRST", 0.0)
    main, child = Scene(tmp_path, pid=1, segment_size=4096), Scene(tmp_path, pid=2, parent_pid=1)
    main.writer.id, child.writer.id = 1, 2
    key = child.span("lost", ended=False)
    child.span("of the child")
    child.writer.abandon()
    main.end(key, "lost", abandoned="signal 9")
    for _ in range(60):
        main.span("short")
    answers: list[Outcome] = []
    arrived: list[Span] = []
    for max_bytes, answers[:] in ((1, []), (2 << 20, [Later("away")])):
        there = Killed(lambda signal, items: answers.pop() if answers else Accepted())
        killed = Forwarder(tmp_path, [Destination("one", there, max_bytes=max_bytes)])
        assert killed.elect()
        with pytest.raises(KeyboardInterrupt):
            killed.shippers[0].round(patient=False)
        killed.stop()
        arrived += there.spans
    assert [span.name for span in arrived].count("lost") == 1
    there = There()
    forward(tmp_path, there)
    arrived += there.spans
    assert len(set(record_ids([span for span in arrived if span.name == "lost"]))) == 1


def test_a_writer_that_was_taken_for_gone_is_gone_on_with(tmp_path: Path) -> None:
    """A process of another pid namespace closes its segment and then opens another: that one is not deleted unread."""
    scene = Scene(tmp_path)
    there = There()
    scene.span("early")
    scene.writer.close()

    class Late(Files):
        is_over = False

        def replace(self, path: Path, unfinished: Path, data: bytes) -> None:
            super().replace(path, unfinished, data)
            if b'"closed": true' in data and not self.is_over:
                self.is_over = True  # the ledger says that the writer is gone; nothing is deleted yet
                scene.span("late")

    forwarder = Forwarder(tmp_path, [Destination("one", there)], files=Late())
    assert forwarder.elect()
    for _ in range(3):
        forwarder.shippers[0].round(patient=False)
    assert [span.name for span in there.spans] == ["early", "late"]
    scene.writer.close()
    for _ in range(2):
        forwarder.shippers[0].round(patient=False)
    forwarder.stop()
    found = account(tmp_path)
    assert (found.total.recorded, found.total.delivered) == (scene.writer.recorded, scene.writer.recorded)
    assert not segments(tmp_path)


def test_a_child_that_ends_its_span_after_all_is_right(tmp_path: Path) -> None:
    """The main process calls a child lost that then ends its span: one end arrives, the child's own."""
    child, main, there = Scene(tmp_path), Scene(tmp_path), There()
    key = child.span("process", ended=False)
    main.end(key, "process", abandoned="cancelled")
    forward(tmp_path, there)
    assert there.spans == []
    assert account(tmp_path).total.pending == 2
    child.end(key, "process")
    forward(tmp_path, there)
    forward(tmp_path, there)
    assert len(there.spans) == 1
    assert names.ABANDONED not in {pair.key for pair in there.spans[0].attributes}
    assert account(tmp_path).total.pending == 0


def test_a_child_that_is_gone_has_the_main_process_s_word(tmp_path: Path) -> None:
    """The main process ends the child's `process` span; the child's other spans end then, too, and say how it died."""
    child, main, there = Scene(tmp_path), Scene(tmp_path), There()
    key = child.span("process", ended=False)
    child.span("tool", ended=False)
    child.writer.abandon()
    main.end(key, "process", abandoned="signal 9 (SIGKILL)")
    forward(tmp_path, there)
    assert sorted(span.name for span in there.spans) == ["process", "tool"]
    for span in there.spans:
        reasons = [pair.value.string_value for pair in span.attributes if pair.key == names.ABANDONED_REASON]
        assert reasons == ["signal 9 (SIGKILL)"]
        assert span.end_time_unix_nano == 2000
    main.writer.abandon()
    forward(tmp_path, there)
    assert len(there.spans) == 2
    assert account(tmp_path).total.pending == 0


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("restarted", [True, False])
def test_a_span_of_a_child_that_is_gone_from_the_spool_has_no_second_end(
    tmp_path: Path, ended: bool, restarted: bool
) -> None:
    """The main process calls it lost when its records have been delivered and deleted, also before a restart."""
    child, main = Scene(tmp_path, pid=7, parent_pid=6), Scene(tmp_path, pid=6)
    key = child.span("process", ended=ended)
    child.writer.close()
    there = There()
    forwarder = Forwarder(tmp_path, [Destination("one", there)])
    assert forwarder.elect()
    forwarder.shippers[0].round(patient=False)
    forwarder.shippers[0].round(patient=False)
    assert list(segments(tmp_path)) == []
    if restarted:
        forwarder.stop()
        forwarder = Forwarder(tmp_path, [Destination("one", there)])
        assert forwarder.elect()
    main.end(key, "process", abandoned="signal 9")
    other = secrets.token_bytes(8)
    main.end(other, "never begun", abandoned="signal 9")
    main.writer.close()
    forwarder.shippers[0].round(patient=False)
    forwarder.shippers[0].round(patient=False)
    forwarder.stop()
    assert [span.span_id for span in there.spans] == [key, other]
    total = account(tmp_path).total
    assert (total.delivered, total.quarantined) == (child.writer.recorded + main.writer.recorded, 0)


def test_a_verdict_is_not_read_before_the_start_that_it_is_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that begins and dies between two looks at the folder has its one end, the main process's word."""
    main, there = Scene(tmp_path), There()
    children: list[Scene] = []
    main.span("before")

    def look_and_be_overtaken(folder: Path) -> dict[int, list[SegmentFile]]:
        found = segments(folder)
        if not children:
            children.append(Scene(tmp_path))
            key = children[0].span("process", ended=False)
            children[0].writer.abandon()
            main.end(key, "process", abandoned="signal 9 (SIGKILL)")
        return found

    monkeypatch.setattr(shipping, "segments", look_and_be_overtaken)
    forward(tmp_path, there)
    forward(tmp_path, there)
    assert [span.name for span in there.spans] == ["before", "process"]
    main.writer.abandon()
    forward(tmp_path, there)
    assert len(there.spans) == 2
    assert account(tmp_path).total.pending == 0


def test_a_verdict_on_a_span_that_never_began_stands(tmp_path: Path) -> None:
    """A message that is revoked before it ran has its one span from the main process."""
    main, there = Scene(tmp_path), There()
    main.span("process", abandoned="signal 15")
    forward(tmp_path, there)
    assert [span.name for span in there.spans] == ["process"]
    forward(tmp_path, there)
    assert len(there.spans) == 1
    assert account(tmp_path).total.pending == 0


def test_a_refused_record_is_found_and_quarantined(tmp_path: Path) -> None:
    """The one record that a destination answers 400 for is found; the others arrive, and the account is exact."""
    scene = Scene(tmp_path)
    for number in range(50):
        scene.span("bad" if number == 33 else f"span {number}")
    scene.writer.close()
    there = There(lambda signal, items: Refused("HTTP 400") if "bad" in items else Accepted())
    forward(tmp_path, there)
    assert len(there.spans) == 49
    total = account(tmp_path).total
    assert (total.quarantined, total.pending) == (1, 0)
    assert total.is_exact
    place = (tmp_path / "quarantine" / "places.jsonl").read_text()
    assert place.count("\n") == 1
    assert "HTTP 400" in place
    assert len(list((tmp_path / "quarantine").glob("*.seg"))) == 1


def test_a_partial_success_is_counted_and_not_sent_again(tmp_path: Path) -> None:
    """What a destination rejects of a batch is quarantined by number, and nothing is sent a second time."""
    scene = Scene(tmp_path)
    for number in range(10):
        scene.span(f"span {number}")
    scene.writer.close()
    there = There(lambda signal, items: Accepted(rejected=3, message="three are too old"))
    forward(tmp_path, there)
    assert len(there.spans) == 7
    assert len(there.requests) == 1
    total = account(tmp_path).total
    assert (total.quarantined, total.pending) == (3, 0)
    assert total.is_exact


def test_damage_is_quarantined_with_its_place(tmp_path: Path) -> None:
    """A flipped bit costs its record and no other, and the segment is kept to be looked at."""
    scene = Scene(tmp_path)
    for number in range(20):
        scene.span(f"span {number}")
    scene.writer.close()
    (file,) = segments(tmp_path)[scene.writer.id]
    data = bytearray(file.path.read_bytes())
    where = data.rindex(b"span 7")
    data[where] ^= 1
    file.path.write_bytes(data)
    there = There()
    forward(tmp_path, there)
    arrived = [span.name for span in there.spans]
    assert [name for name in arrived if name != "span 7"] == [f"span {n}" for n in range(20) if n != 7]
    total = account(tmp_path).total
    assert (total.quarantined, total.pending) == (1, 0)
    assert total.is_exact
    assert "checksum" in (tmp_path / "quarantine" / "places.jsonl").read_text()
    assert (tmp_path / "quarantine" / file.path.name).exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), faults=st.integers(1, 8), settled=st.booleans(), closed=st.booleans())
def test_what_the_account_says_of_damage_is_what_forwarding_comes_to(
    tmp_path_factory: pytest.TempPathFactory, seed: int, faults: int, settled: bool, closed: bool
) -> None:
    """Flipped bits, blocks of zeros, lost segments and rubbish: what is intact arrives, and no number changes for it.

    The account before anything is forwarded and the forwarder count by code of their own.
    """
    folder = tmp_path_factory.mktemp("spool")
    chance = random.Random(seed)
    scene, there = Scene(folder, segment_size=4096), There()
    for part in range(2):
        for number in range(40):
            scene.event(f"event {part} {number}")
            if chance.random() < 0.3:
                scene.span(f"span {part} {number}")
        if settled and not part:
            forward(folder, there)
    if closed:
        scene.writer.close()
    else:
        scene.writer.abandon()
    for _ in range(faults):
        damage(chance.choice([file.path for file in segments(folder)[scene.writer.id]]), chance)
        if not segments(folder):
            break
    before = account(folder).total
    intact = {
        record.id
        for files in segments(folder).values()
        for file in files
        for record in read(file)
        if isinstance(record, Record) and record.kind is Kind.LOG
    }
    forward(folder, there)
    after = account(folder).total
    assert (after.recorded, after.quarantined, after.pending) == (before.recorded, before.quarantined, 0)
    assert intact <= set(record_ids(there.events))
    assert not segments(folder)


def damage(path: Path, chance: random.Random) -> None:
    """Do to a segment what disks and people do."""
    data = bytearray(path.read_bytes())
    place = chance.randrange(len(data))
    match chance.randrange(4):
        case 0:
            data[place] ^= 1 << chance.randrange(8)
        case 1:
            data[place : place + 512] = bytes(len(data[place : place + 512]))
        case 2:
            data += chance.randbytes(chance.randint(1, 100))
        case 3:
            path.unlink()
            return
    path.write_bytes(data)


def test_a_destination_that_is_away_holds_nothing_up_but_deletion(tmp_path: Path) -> None:
    """With two destinations, one gets everything while the other takes nothing; segments stay until both have them."""
    scene = Scene(tmp_path)
    scene.span("span")
    scene.writer.close()
    here, away = There(), There(lambda signal, items: Later("away"))
    forwarder = Forwarder(tmp_path, [Destination("here", here), Destination("away", away)])
    assert forwarder.elect()
    forwarder.shippers[0].round()
    forwarder._stop.set()
    with pytest.raises(Stopped):
        forwarder.shippers[1].round()
    forwarder.stop()
    assert len(here.spans) == 1
    assert segments(tmp_path)
    assert account(tmp_path).total.pending == account(tmp_path).total.recorded
    back = There()
    forward(tmp_path, here, back, names=("here", "away"))
    assert (len(here.spans), len(back.spans)) == (1, 1)
    assert not segments(tmp_path)


def test_a_new_destination_begins_with_what_is_left(tmp_path: Path) -> None:
    """A changed destination goes on where the old one was; the old one is not waited for."""
    scene = Scene(tmp_path)
    scene.span("before")
    old, new = There(), There()
    forward(tmp_path, old, names=("old",))
    scene.span("after")
    forward(tmp_path, new, names=("new",))
    assert [span.name for span in old.spans] == ["before"]
    assert [span.name for span in new.spans] == ["after"]
    found = account(tmp_path)
    assert found.destinations == ["new"]
    assert found.total.is_exact
    assert found.total.pending == 0


def test_a_destination_whose_ledger_is_spoilt_misses_nothing(tmp_path: Path) -> None:
    """It was behind, and does not begin where another one is; what has been delivered to it is not told as lost."""
    scene = Scene(tmp_path, segment_size=4096)
    open_for_long = scene.span("long", ended=False)
    for number in range(50):
        scene.span(f"early {number}")
    here, there = There(), There()
    forward(tmp_path, here, there)
    assert len(segments(tmp_path)[scene.writer.id]) == 1, "what both have is deleted"
    for number in range(5):
        scene.span(f"late {number}")
    forwarder = Forwarder(tmp_path, [Destination("one", here), Destination("two", there)])
    assert forwarder.elect()
    forwarder.shippers[0].round()
    forwarder.stop()
    path_of(tmp_path, "two").write_bytes(b"rubbish")
    found = account(tmp_path).total
    assert found.is_exact
    assert found.quarantined == 0
    scene.end(open_for_long, "long")
    scene.writer.close()
    recorded = scene.writer.recorded
    forward(tmp_path, here, there)
    ids = record_ids(there.spans)
    assert len({span.span_id for span in there.spans}) == len(set(ids)) == 56
    found = account(tmp_path).total
    assert (found.recorded, found.delivered, found.quarantined) == (recorded, recorded, 0)


def test_logs_that_are_not_wanted_do_not_hold_up_spans(tmp_path: Path) -> None:
    """Jaeger answers 404 to logs: spans arrive, the events count as delivered, and the ledger says how many."""
    scene = Scene(tmp_path)
    for _ in range(3):
        scene.span("span")
        scene.event("event")
    scene.writer.close()
    there = There(lambda signal, items: Declined("404") if signal is Signal.LOGS else Accepted())
    forwarder = forward(tmp_path, there)
    assert len(there.spans) == 3
    assert forwarder.shippers[0].ledger.declined == 3
    assert account(tmp_path).total.pending == 0


def test_a_wrong_address_is_not_taken_for_a_destination_without_logs(tmp_path: Path) -> None:
    """Where spans meet a 404 as well, nothing is given up: the address is wrong, and can be mended."""
    scene = Scene(tmp_path)
    scene.event("decision")
    scene.writer.close()
    nowhere = There(lambda signal, items: Declined("404") if signal is Signal.LOGS else Later("404"))
    forwarder = Forwarder(tmp_path, [Destination("one", nowhere)])
    assert forwarder.elect()
    forwarder._stop.set()
    with pytest.raises(Stopped):
        forwarder.shippers[0].round()
    forwarder.stop()
    assert account(tmp_path).total.pending == account(tmp_path).total.recorded
    mended = There()
    forward(tmp_path, mended)
    assert [event.event_name for event in mended.events] == ["decision"]


def test_one_process_at_a_time_forwards(tmp_path: Path) -> None:
    """The second one is not elected before the first one has let go."""
    first = Forwarder(tmp_path, [Destination("one", There())])
    second = Forwarder(tmp_path, [Destination("one", There())])
    assert first.elect()
    assert not second.elect()
    first.stop()
    assert second.elect()
    second.stop()


def test_a_forwarder_whose_lock_was_deleted_leaves_the_work_to_the_next(tmp_path: Path) -> None:
    """A cleaner of old files takes the lock away, another process is elected: the first one sends and saves no more."""
    scene, there = Scene(tmp_path), There()
    scene.span("span")
    first = Forwarder(tmp_path, [Destination("one", there)])
    second = Forwarder(tmp_path, [Destination("one", There())])
    assert first.elect()
    (tmp_path / LOCK).unlink()
    assert second.elect()
    with pytest.raises(Stopped):
        first.shippers[0].round()
    assert not there.requests
    assert account(tmp_path).total.delivered == 0
    first.stop()
    second.stop()


def test_a_spool_that_is_made_anew_is_forwarded_by_one_process(tmp_path: Path) -> None:
    """A folder deleted under a running forwarder: that one is elected again, and knows what it has delivered."""
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    scene, there = Scene(folder), There()
    forwarder = Forwarder(folder, [Destination("one", there)])
    forwarder.start()
    scene.span("before")
    assert forwarder.flush(20)
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    with pytest.raises(NotRecorded):
        scene.writer.sync(scene.writer.recorded)
    scene.span("after")
    scene.writer.close()
    while not (folder / LOCK).exists():
        threading.Event().wait(0.01)
    other = Forwarder(folder, [Destination("one", There())])
    assert not other.elect()
    assert forwarder.flush(20, final=True)
    forwarder.stop()
    assert [span.name for span in there.spans] == ["before", "after"]
    found = account(folder).total
    assert (found.delivered, found.quarantined) == (scene.writer.recorded, 0)


@pytest.mark.parametrize("when", ["asked", "read"])
def test_a_segment_that_cannot_be_read_holds_nobody_else_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    """A bad sector, or a file that is another user's: it stays and is said, everything else arrives."""
    bad, good = Scene(tmp_path), Scene(tmp_path)
    bad.span("bad")
    good.span("good")
    bad.writer.close()
    good.writer.close()
    place = path_of_segment(tmp_path, bad.writer.id, 1)
    there = There()
    with monkeypatch.context() as broken:
        if when == "asked":
            place.rename(tmp_path / "aside")
            place.mkdir()  # as good as any other error of `open`, also for root
        else:
            open_file = Path.open

            def fail(path: Path, *arguments: str, **named: str) -> object:
                if path == place and sys._getframe(1).f_code.co_name == "_segment":
                    raise OSError(errno.EIO, "Input/output error")
                return open_file(path, *arguments, **named)

            broken.setattr(Path, "open", fail)
        forward(tmp_path, there)
    assert [span.name for span in there.spans] == ["good"]
    assert list(segments(tmp_path)) == [bad.writer.id]
    assert f"{bad.writer.id:016x} cannot be read" in caplog.text
    if when == "asked":
        place.rmdir()
        (tmp_path / "aside").rename(place)
    forward(tmp_path, there)
    assert [span.name for span in there.spans] == ["good", "bad"]
    total = account(tmp_path).total
    assert (total.delivered, total.quarantined) == (bad.writer.recorded + good.writer.recorded, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which only root may")
def test_what_root_makes_in_somebody_s_spool_is_that_one_s(tmp_path: Path) -> None:
    """A command by root's hand leaves nothing that the spool's user cannot read, and forwarding goes on."""
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    os.chown(folder, 4321, 4322)
    scene = Scene(folder, segment_size=4096)
    scene.span("long", ended=False)
    for number in range(50):
        scene.span(f"span {number}")
    forward(folder, There(lambda signal, items: Refused("no") if "span 3" in items else Accepted()))
    made = list(folder.rglob("*"))
    assert {path.suffix for path in made} >= {".seg", ".open", ".json", ".jsonl", ".lock"}
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(4321, 4322)}


def test_flush_waits_until_everything_is_there(tmp_path: Path) -> None:
    """`flush` returns when what was recorded before it has been delivered, and says when it was not in time."""
    scene, there = Scene(tmp_path), There()
    let_go = threading.Event()
    there._answer = lambda signal, items: (let_go.wait(), Accepted())[1]
    forwarder = Forwarder(tmp_path, [Destination("one", there)])
    forwarder.start()
    scene.span("span")
    assert not forwarder.flush(0.05)
    let_go.set()
    assert forwarder.flush(20)
    assert [span.name for span in there.spans] == ["span"]
    forwarder.stop()


class Crowded(Files):
    """A disk with room for so many bytes in one folder, full from the beginning but for what is deleted."""

    def __init__(self, folder: Path, room: int) -> None:
        self._folder = folder
        self._room = room

    def write(self, descriptor: int, data: bytes) -> int:
        used = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
        if used + len(data) > self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(descriptor, data)


def test_a_full_disk_is_made_room_on(tmp_path: Path) -> None:
    """With no room for the ledger, nor for the starts of open spans, what is delivered goes, and then there is."""
    scene = Scene(tmp_path, segment_size=4096)
    key = scene.span("long", ended=False)
    for number in range(100):
        scene.span(f"span {number}")
    there = There()
    forward(tmp_path, there)
    for number in range(100):
        scene.span(f"more {number}")
    used = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    forwarder = Forwarder(tmp_path, [Destination("one", there)], files=Crowded(tmp_path, used))
    assert forwarder.elect()
    forwarder.shippers[0].round()
    forwarder.stop()
    assert len(segments(tmp_path)[scene.writer.id]) == 1
    assert len(there.spans) == 200
    assert account(tmp_path).total.is_exact
    scene.end(key, "long")
    forward(tmp_path, there)
    assert [span.name for span in there.spans][200:] == ["long"]
    assert len(set(record_ids(there.spans))) == 201


def test_a_forwarder_that_begins_on_a_full_disk_makes_room(tmp_path: Path) -> None:
    """Its ledger does not fit before something is delivered, and is there afterwards."""
    scene = Scene(tmp_path)
    for number in range(100):
        scene.span(f"span {number}")
    scene.writer.close()
    there = There()
    _forward_crowded(tmp_path, there)
    assert len(there.spans) == 100
    assert not segments(tmp_path)
    found = account(tmp_path).total
    assert (found.recorded, found.delivered) == (scene.writer.recorded, scene.writer.recorded)


def test_a_new_destination_on_a_full_disk_takes_nothing_from_the_one_before(tmp_path: Path) -> None:
    """The ledger that it begins from is put aside when its own one is saved, and not before."""
    scene = Scene(tmp_path, segment_size=4096)
    for number in range(100):
        scene.span(f"span {number}")
    forward(tmp_path, There())
    used = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    two = Forwarder(tmp_path, [Destination("two", There())], files=Crowded(tmp_path, used))
    assert two.elect()
    two.stop()
    found = account(tmp_path)
    assert found.destinations == ["one"]
    assert found.total.quarantined == 0
    scene.writer.close()
    forward(tmp_path, There(), names=("two",))
    found = account(tmp_path)
    assert found.destinations == ["two"]
    assert (found.total.delivered, found.total.quarantined) == (scene.writer.recorded, 0)


def test_damage_on_a_full_disk_holds_nothing_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A torn write is what a full disk leaves: the log has its place, its segment makes room, the count is right."""
    scene = Scene(tmp_path)
    for number in range(100):
        scene.span(f"span {number}")
    forward(tmp_path, There())
    for number in range(100):
        scene.span(f"more {number}")
    scene.writer.close()
    (file,) = segments(tmp_path)[scene.writer.id]
    data = bytearray(file.path.read_bytes())
    data[data.rindex(b"more 7")] ^= 1
    file.path.write_bytes(data)
    there = There()
    _forward_crowded(tmp_path, there)
    assert len({span.name for span in there.spans} - {"more 7"}) == 99
    found = account(tmp_path).total
    assert (found.recorded, found.pending, found.quarantined) == (scene.writer.recorded, 0, 1)
    assert found.is_exact
    assert "are no record" in caplog.text


def _forward_crowded(folder: Path, there: There) -> None:
    """Forward from a disk that is as full as it is now."""
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    forwarder = Forwarder(folder, [Destination("one", there)], files=Crowded(folder, used))
    assert forwarder.elect()
    for _ in range(2):
        forwarder.shippers[0].round(patient=False)
    forwarder.stop()


def test_the_list_of_places_does_not_grow_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A destination that refuses every record for months leaves the latest places, and every record is counted."""
    monkeypatch.setattr(quarantining, "MAX_PLACES", 4000)
    scene = Scene(tmp_path)
    for number in range(100):
        scene.span(f"span {number}")
    scene.writer.close()
    (file,) = segments(tmp_path)[scene.writer.id]
    forward(tmp_path, There(lambda signal, items: Refused("no")))
    lists = list((tmp_path / "quarantine").glob("places*"))
    assert len(lists) == 2
    assert sum(path.stat().st_size for path in lists) < 10_000
    assert quarantining.Quarantine(tmp_path).has(file.path)
    assert account(tmp_path).total.quarantined == 100
