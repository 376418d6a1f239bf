"""A sender in this process, a spool, and workers that keep what they do in it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from handrail_agents import Agents
from handrail_harness.stack.workers import Worker
from handrail_propagation import conventions as names
from handrail_propagation import instrument, uninstrument
from handrail_propagation.spool.reader import read, segments, survey
from handrail_propagation.spool.record import Kind, Record

APPS = Path(__file__).parent / "apps"
PATIENCE = 90.0  # a warm stop alone may take half a minute
POOLS = [
    ("prefork", []),
    ("prefork", ["--max-tasks-per-child=1"]),
    ("threads", []),
    ("solo", []),
    ("gevent", []),
]
"""Every pool of Celery's, and one whose children live for one task."""


class Keeping:
    """One test's queues, spool, workers and effects."""

    def __init__(self, redis_url: str, folder: Path, start: Callable[..., Worker]) -> None:
        self.prefix = f"spool-{secrets.token_hex(4)}-"
        self.spool = folder / "spool"
        self.effects = folder / "effects"
        self.app = Celery("sender", broker=redis_url, set_as_current=False)
        self.provider = TracerProvider(shutdown_on_exit=False)
        instrument(self.app, tracer_provider=self.provider, logger_provider=LoggerProvider())
        self.ops = Agents(self.app, queue_prefix=self.prefix)
        self._start = start
        self._env = {
            "HANDRAIL_REDIS_URL": redis_url,
            "HANDRAIL_SPOOL_DIR": str(self.spool),
            "HANDRAIL_FORWARD": "none",
            "TEST_QUEUE_PREFIX": self.prefix,
            "TEST_EFFECTS": str(self.effects),
        }

    def forward_to(self, endpoint: str) -> None:
        """Let workers forward their spool to `endpoint`, where the sender exports its own spans at once."""
        exporter = OTLPSpanExporter(f"{endpoint}/v1/traces")
        self.provider.add_span_processor(SimpleSpanProcessor(exporter))
        self._env |= {"HANDRAIL_FORWARD": "worker", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}

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
    scene.provider.shutdown()
    scene.app.close()
