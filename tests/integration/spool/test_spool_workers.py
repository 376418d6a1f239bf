"""Real workers with a spool: in every pool and whatever ends them, what they did is on record."""

from __future__ import annotations

import os
import signal
import time

import pytest

from handrail_agents import Done, InDoubt
from handrail_propagation import conventions as names
from handrail_propagation.spool.reader import survey
from handrail_propagation.spool.record import Kind

from ...support.processes import kill
from .conftest import PATIENCE, POOLS, Keeping

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("pool", "arguments"), POOLS)
def test_every_pool_records_everything(keeping: Keeping, pool: str, arguments: list[str]) -> None:
    """In each pool every call has start, end and decision, no process an exporter thread, and each its last word."""
    running = keeping.worker("keeper", pool=pool, arguments=arguments, concurrency=2)
    jobs = [keeping.ops.send("keeper", times=3) for _ in range(4)]
    outcomes = [job.result(timeout=PATIENCE) for job in jobs]
    running.stop()
    assert len(keeping.done("note")) == len(keeping.done("look")) == 12
    keeping.assert_on_record(ended=True)
    for outcome in outcomes:
        assert isinstance(outcome, Done)
        assert outcome.value
        # The lease of an agent run is kept by a thread of its own; no other one of ours, and no exporter's
        assert {name for name in outcome.value if "handrail" in name.lower()} <= {"handrail-lease"}
        assert not [name for name in outcome.value if "otel" in name.lower()]
    assert set(keeping.spans(Kind.SPAN_START)) == set(keeping.spans(Kind.SPAN_END))
    # Each process has had the last word: how many records it dropped is in it
    assert [state.id for state in survey(keeping.spool) if not state.closed] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_however_a_worker_is_ended_nothing_is_lost(keeping: Keeping, number: int) -> None:
    """SIGTERM, SIGINT, SIGQUIT and SIGKILL in the middle of the work: every effect is on record."""
    running = keeping.worker("keeper", concurrency=2)
    pids = [running.pid, *running.pool_pids()]
    for _ in range(2):
        keeping.ops.send("keeper", times=1000)
    deadline = time.monotonic() + PATIENCE
    while len(keeping.done("note")) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(running.pid, number)
    kill(pids[1:])
    running.stop()
    assert len(keeping.done("note")) >= 20
    keeping.assert_on_record(ended=False)


def test_no_sampler_hides_what_a_worker_did(keeping: Keeping) -> None:
    """With OTEL_TRACES_SAMPLER=always_off in a real worker: effects and decisions are on record, reads are not."""
    running = keeping.worker("keeper", env={"OTEL_TRACES_SAMPLER": "always_off"})
    assert isinstance(keeping.ops.send("keeper", times=3).result(timeout=PATIENCE), Done)
    running.stop()
    effects, recorded = set(keeping.done("note")), set(keeping.spans(Kind.SPAN_END))
    assert len(effects) == 3
    assert effects <= recorded & set(keeping.spans(Kind.SPAN_START)) & keeping.decided()
    assert {span.name for span in keeping.spans(Kind.SPAN_END).values()} == {"execute_tool note"}


def test_the_fatal_call_is_on_record(keeping: Keeping) -> None:
    """The call in which a pool child was killed: its decision and its start are there, and its end is not."""
    running = keeping.worker("doomed")
    assert isinstance(keeping.ops.send("doomed").result(timeout=PATIENCE), InDoubt)
    running.stop()
    (span_id,) = keeping.done("fatal")
    keeping.assert_on_record(ended=False)
    assert span_id not in keeping.spans(Kind.SPAN_END)
    start = keeping.spans(Kind.SPAN_START)[span_id]
    assert start.name == "execute_tool fatal"


def test_a_full_spool_refuses_effects_and_lets_reads_go_on(keeping: Keeping) -> None:
    """With the spool full, a call above read is not made and says why; a call that reads is made all the same."""
    keeping.spool.mkdir(mode=0o700)
    (keeping.spool / "0000000000000001-00000001.seg").write_bytes(b"x" * (1 << 20))
    keeping.worker("careful", env={"HANDRAIL_SPOOL_MAX_SIZE": "1MiB"})
    outcome = keeping.ops.send("careful").result(timeout=PATIENCE)
    assert outcome == Done({"note": "NotRecorded", "look": "seen"})
    assert keeping.done("note") == []
    assert len(keeping.done("look")) == 1


def test_a_refused_effect_says_so(keeping: Keeping) -> None:
    """Close to the limit the decision is still recorded, with the disposition `not_recorded`."""
    keeping.spool.mkdir(mode=0o700)
    (keeping.spool / "0000000000000001-00000001.seg").write_bytes(b"x" * ((1 << 20) * 15 // 16))
    keeping.worker("careful", env={"HANDRAIL_SPOOL_MAX_SIZE": "1MiB"})
    outcome = keeping.ops.send("careful").result(timeout=PATIENCE)
    assert outcome == Done({"note": "NotRecorded", "look": "seen"})
    assert keeping.done("note") == []
    (end,) = [span for span in keeping.spans(Kind.SPAN_END).values() if span.name == "execute_tool note"]
    attributes = {entry.key: entry.value.string_value for entry in end.attributes}
    assert attributes[names.TOOL_DISPOSITION] == "not_recorded"
    assert attributes[names.TOOL_RESULT_STATUS] == "none"
    assert end.span_id.hex() in keeping.decided()
