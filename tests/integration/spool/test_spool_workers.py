"""Real workers with a spool: in every pool and whatever ends them, what they did is on record."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider

from handrail_agents import Agents, Done
from handrail_harness.stack.workers import Worker
from handrail_propagation import conventions as names
from handrail_propagation import instrument, uninstrument
from handrail_propagation.spool.reader import read, segments, survey
from handrail_propagation.spool.record import Kind, Record

APPS = Path(__file__).parent / "apps"
PATIENCE = 40.0

pytestmark = pytest.mark.integration


class Keeping:
    """One test's queues, spool, workers and effects."""

    def __init__(self, redis_url: str, folder: Path, start: Callable[..., Worker]) -> None:
        self.prefix = f"spool-{secrets.token_hex(4)}-"
        self.spool = folder / "spool"
        self.effects = folder / "effects"
        self.app = Celery("sender", broker=redis_url, set_as_current=False)
        instrument(self.app, tracer_provider=TracerProvider(), logger_provider=LoggerProvider())
        self.ops = Agents(self.app, queue_prefix=self.prefix)
        self._start = start
        self._env = {
            "HANDRAIL_REDIS_URL": redis_url,
            "HANDRAIL_SPOOL_DIR": str(self.spool),
            "TEST_QUEUE_PREFIX": self.prefix,
            "TEST_EFFECTS": str(self.effects),
        }

    def worker(self, agent: str, *, pool: str = "prefork", **options: Any) -> Worker:
        env = self._env | options.pop("env", {})
        return self._start("keeper", [self.prefix + agent], pool=pool, cwd=APPS, env=env, **options)

    def done(self, what: str) -> list[str]:
        """Span ids of the effects of one kind that have happened."""
        if not self.effects.exists():
            return []
        lines = [line.split() for line in self.effects.read_text().splitlines()]
        return [span_id for kind, span_id in lines if kind == what]

    def records(self, kind: Kind) -> list[Record]:
        return [
            item
            for files in segments(self.spool).values()
            for file in files
            for item in read(file)
            if isinstance(item, Record) and item.kind is kind
        ]

    def spans(self, kind: Kind) -> dict[str, Span]:
        found = [Span.FromString(record.payload) for record in self.records(kind)]
        return {span.span_id.hex(): span for span in found}

    def decided(self) -> set[str]:
        """Span ids of the decision records."""
        found = [LogRecord.FromString(record.payload) for record in self.records(Kind.LOG)]
        return {record.span_id.hex() for record in found if record.event_name == names.EVENT_DECISION}

    def assert_on_record(self, *, ended: bool) -> None:
        """No effect above read without its start and its decision; nothing lost, nothing damaged."""
        effects = {*self.done("note"), *self.done("fatal")}
        assert effects
        assert effects <= set(self.spans(Kind.SPAN_START))
        assert effects <= self.decided()
        if ended:
            assert effects | set(self.done("look")) <= set(self.spans(Kind.SPAN_END))
        for state in survey(self.spool):
            assert (state.quarantined, state.recorded, state.dropped) == (0, state.intact, 0)
            assert not state.damages


@pytest.fixture
def keeping(redis_url: str, tmp_path: Path, worker: Callable[..., Worker]) -> Iterator[Keeping]:
    """A sender, an empty spool and what is needed to start workers."""
    scene = Keeping(redis_url, tmp_path, worker)
    yield scene
    uninstrument(scene.app)
    scene.app.close()


@pytest.mark.parametrize(
    ("pool", "arguments"),
    [
        ("prefork", []),
        ("prefork", ["--max-tasks-per-child=1"]),
        ("threads", []),
        ("solo", []),
        ("gevent", []),
    ],
)
def test_every_pool_records_everything(keeping: Keeping, pool: str, arguments: list[str]) -> None:
    """In each pool every call has its start, its end and its decision, without an exporter thread in the process."""
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
    if number == signal.SIGKILL:
        for pid in pids:
            os.kill(pid, number)
    else:
        os.kill(running.pid, number)
        for pid in pids[1:]:
            os.kill(pid, signal.SIGKILL)
    running.stop()
    assert len(keeping.done("note")) >= 20
    keeping.assert_on_record(ended=False)


def test_the_fatal_call_is_on_record(keeping: Keeping) -> None:
    """The call in which a pool child was killed: its decision and its start are there, and its end is not."""
    keeping.worker("doomed")
    keeping.ops.send("doomed")
    deadline = time.monotonic() + PATIENCE
    while not keeping.done("fatal") and time.monotonic() < deadline:
        time.sleep(0.01)
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
