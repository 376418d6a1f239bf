"""What is recorded when, and what an effect waits for: the spool behind the SDK's own providers."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, get_current_span

from handrail_propagation import conventions as names
from handrail_propagation import emit_event, telemetry
from handrail_propagation.config import Config
from handrail_propagation.errors import ConfigurationError
from handrail_propagation.messagespan import SpanTemplate
from handrail_propagation.messagetracer import MessageTracer
from handrail_propagation.providers import build
from handrail_propagation.spool import NotRecorded, before_act
from handrail_propagation.spool.accounting import account
from handrail_propagation.spool.files import FILES, Files
from handrail_propagation.spool.reader import read, segments, survey
from handrail_propagation.spool.record import Kind, Record
from handrail_propagation.telemetry import Telemetry

GATED = {names.DECISION_ID: "d1", names.DECISION_RISK: "write"}


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Telemetry]]:
    """Set up telemetry with a spool, as `instrument()` does, without touching OpenTelemetry's globals."""
    made: list[Telemetry] = []

    def start(sampler: Any = None, **settings: Any) -> Telemetry:
        config = Config(spool_dir=str(tmp_path / "spool"), forward="none", **settings)
        now = build(
            config,
            tracer_provider=TracerProvider(sampler=sampler, resource=Resource({"service.name": "test"})),
            logger_provider=LoggerProvider(resource=Resource({"service.name": "test"})),
            meter_provider=None,
            service_name="",
        )
        made.append(now)
        monkeypatch.setattr(telemetry, "_current", now)
        return now

    yield start
    for now in made:
        assert now.recorder is not None
        now.recorder.spool.close()


def _records(folder: Path, *kinds: Kind) -> list[Record]:
    return [
        item
        for files in segments(folder).values()
        for file in files
        for item in read(file)
        if isinstance(item, Record) and item.kind in kinds
    ]


def _spans(folder: Path, kind: Kind) -> list[Span]:
    return [Span.FromString(record.payload) for record in _records(folder, kind)]


def test_a_span_is_there_from_its_start(recording: Callable[..., Telemetry], tmp_path: Path) -> None:
    """Before a span has ended its start can be read: name, ids, attributes, time, no end."""
    now = recording()
    with now.tracer.start_as_current_span("outer", kind=SpanKind.CLIENT, attributes={"a": [1, 2]}) as span:
        (start,) = _spans(tmp_path / "spool", Kind.SPAN_START)
        assert (start.name, start.kind, start.end_time_unix_nano) == ("outer", Span.SPAN_KIND_CLIENT, 0)
        assert start.start_time_unix_nano > 0
        assert start.span_id == span.get_span_context().span_id.to_bytes(8, "big")
        assert start.attributes[0].key == "a"
        assert not _spans(tmp_path / "spool", Kind.SPAN_END)
    (end,) = _spans(tmp_path / "spool", Kind.SPAN_END)
    assert end.span_id == start.span_id
    assert end.end_time_unix_nano >= end.start_time_unix_nano == start.start_time_unix_nano


def test_the_run_id_is_on_the_start(recording: Callable[..., Telemetry], tmp_path: Path) -> None:
    """The start record of a killed process says which run it belonged to."""
    from handrail_propagation import run_context

    now = recording()
    with run_context("run-7"), now.tracer.start_as_current_span("step"):
        (start,) = _spans(tmp_path / "spool", Kind.SPAN_START)
    assert {(entry.key, entry.value.string_value) for entry in start.attributes} == {(names.RUN_ID, "run-7")}


def test_each_record_names_its_service_and_scope(recording: Callable[..., Telemetry], tmp_path: Path) -> None:
    """A span of another library keeps its own scope; resource and scope are written once a segment."""
    now = recording()
    for _ in range(3):
        with now.tracer.start_as_current_span("ours"):
            pass
        now.tracer_provider.get_tracer("their.library", "1.2").start_span("theirs").end()
    origins = _records(tmp_path / "spool", Kind.ORIGIN)
    assert [record.origin for record in origins] == [1, 2]
    described = [ResourceSpans.FromString(record.payload) for record in origins]
    assert [origin.scope_spans[0].scope.name for origin in described] == ["handrail", "their.library"]
    assert {origin.resource.attributes[0].value.string_value for origin in described} == {"test"}
    ends = _records(tmp_path / "spool", Kind.SPAN_END)
    assert [record.origin for record in ends] == [1, 2] * 3


def test_a_decision_is_recorded_in_its_spans_context(
    recording: Callable[..., Telemetry], tmp_path: Path
) -> None:
    """The decision record is an OTLP log record with the tool span's ids."""
    now = recording()
    with now.tracer.start_as_current_span("execute_tool x", attributes=GATED) as span:
        emit_event(names.EVENT_DECISION, {names.DECISION_INTENT: "drop it"}, span=span)
    (record,) = (LogRecord.FromString(one.payload) for one in _records(tmp_path / "spool", Kind.LOG))
    assert record.event_name == names.EVENT_DECISION
    assert record.span_id == span.get_span_context().span_id.to_bytes(8, "big")


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_OFF)])
def test_no_sampler_can_hide_a_decision(
    recording: Callable[..., Telemetry], tmp_path: Path, sampler: Any
) -> None:
    """With sampling off, effects above read, decisions and approvals are recorded, and what happens below them."""
    now = recording(sampler=sampler)
    with (
        now.tracer.start_as_current_span("invoke_agent a"),
        now.tracer.start_as_current_span("execute_tool x", attributes=GATED) as span,
    ):
        emit_event(names.EVENT_DECISION, {}, span=span)
        before_act(span)
    with now.tracer.start_as_current_span("await_approval x", attributes={names.APPROVAL_ID: "a"}):
        pass
    with now.tracer.start_as_current_span("execute_tool r", attributes={names.DECISION_RISK: "read"}):
        pass
    assert [span.name for span in _spans(tmp_path / "spool", Kind.SPAN_END)] == [
        "execute_tool x",
        "await_approval x",
    ]


def test_an_effect_waits_for_the_disk(recording: Callable[..., Telemetry], tmp_path: Path) -> None:
    """When before_act has returned, start and decision were synced, and so was the name of their file."""
    calls: list[str] = []
    now = recording()

    class Watched(Files):
        def sync(self, descriptor: int) -> None:
            calls.append("file")
            super().sync(descriptor)

        def sync_folder(self, folder: Path) -> None:
            calls.append("folder")
            super().sync_folder(folder)

    assert now.recorder is not None
    now.recorder.spool._files = Watched()
    for expected in (["file", "folder"], ["file", "folder", "file"]):
        with now.tracer.start_as_current_span("execute_tool x", attributes=GATED) as span:
            emit_event(names.EVENT_DECISION, {}, span=span)
            before_act(span)
            assert calls == expected


def test_what_is_not_recorded_does_not_happen(recording: Callable[..., Telemetry]) -> None:
    """No decision record, no start record, another process's span: each is a refusal."""
    now = recording()
    with (
        now.tracer.start_as_current_span("execute_tool x", attributes=GATED) as span,
        pytest.raises(NotRecorded, match="decision record"),
    ):
        before_act(span)
    with (
        now.tracer.start_as_current_span("execute_tool x", attributes={names.DECISION_RISK: "read"}) as span,
        pytest.raises(NotRecorded, match="start"),
    ):
        before_act(span)
    emit_event(names.EVENT_DECISION, {}, span=span)
    with pytest.raises(NotRecorded, match="start"):
        before_act(span)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "sync", "sync_folder", "create"])
def test_a_disk_that_fails_refuses_effects_and_lets_reads_go_on(
    recording: Callable[..., Telemetry],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    call: str,
    error: int,
) -> None:
    """Whatever call fails with whatever error: no effect, and a read goes on as if nothing were.

    What could not be written by the time that the process ends is said; if the disk works by then, it is written.
    """
    now = recording()

    class Disk(Files):
        works = False

    def fail_or_work(self: Disk, *arguments: Any) -> Any:
        if not self.works:
            raise OSError(error, "broken")
        return getattr(FILES, call)(*arguments)

    setattr(Disk, call, fail_or_work)
    disk = Disk()
    assert now.recorder is not None
    now.recorder.spool._files = disk
    with now.tracer.start_as_current_span("execute_tool x", attributes=GATED) as span:
        emit_event(names.EVENT_DECISION, {}, span=span)
        with pytest.raises(NotRecorded):
            before_act(span)
    with now.tracer.start_as_current_span("execute_tool r", attributes={names.DECISION_RISK: "read"}):
        pass
    now.recorder.spool.close()
    assert ("records that waited for room" in caplog.text) == (call in ("write", "create"))
    disk.works = True
    caplog.clear()
    now.recorder.spool.close()
    assert "records that waited for room" not in caplog.text
    assert account(tmp_path / "spool").total.recorded == now.recorder.spool.writer().recorded > 0


def test_a_failure_inside_the_spool_is_a_refusal(
    recording: Callable[..., Telemetry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails closed: an exception of any kind while the record is made safe keeps the effect from happening."""
    now = recording()
    with now.tracer.start_as_current_span("execute_tool x", attributes=GATED) as span:
        emit_event(names.EVENT_DECISION, {}, span=span)
        assert now.recorder is not None

        def explode(sequence: int) -> None:
            raise RuntimeError("bug")

        monkeypatch.setattr(now.recorder.spool.writer(), "sync", explode)
        with pytest.raises(NotRecorded, match="RuntimeError"):
            before_act(span)


def test_a_dropped_start_takes_its_end_with_it(recording: Callable[..., Telemetry], tmp_path: Path) -> None:
    """A spool that is full keeps no halves: a read is there from start to end or not at all, and is counted."""
    now = recording(spool_max_size=64 << 10)
    for _ in range(200):
        with now.tracer.start_as_current_span("execute_tool r", attributes={"a": "x" * 300}):
            pass
    starts = {span.span_id for span in _spans(tmp_path / "spool", Kind.SPAN_START)}
    ends = {span.span_id for span in _spans(tmp_path / "spool", Kind.SPAN_END)}
    assert 0 < len(starts) < 200
    assert starts == ends
    assert now.recorder is not None
    assert now.recorder.spool.writer().dropped == 2 * (200 - len(starts))


def test_there_is_no_thread_and_nothing_to_flush(recording: Callable[..., Telemetry]) -> None:
    """A process that may be killed has no exporter in it: no thread is started, and no batch is kept."""
    before = threading.active_count()
    now = recording()
    with now.tracer.start_as_current_span("one"):
        pass
    assert threading.active_count() == before
    processors = now.tracer_provider._active_span_processor._span_processors  # type: ignore[attr-defined]
    assert processors
    assert not [one for one in processors if isinstance(one, BatchSpanProcessor)]


class Tenant(SpanProcessor):
    """Takes an attribute from the context that a span starts in."""

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        parent = get_current_span(parent_context).get_span_context()
        span.set_attribute("parent", f"{parent.span_id:x}")


@pytest.mark.parametrize("beside", [False, True])
def test_spans_of_messages_are_recorded(
    recording: Callable[..., Telemetry], tmp_path: Path, beside: bool
) -> None:
    """A message's span is recorded as it starts and as it ends, also beside a processor that looks at its context."""
    now = recording()
    tracer: Any = now.tracer
    if beside:
        tracer.span_processor.add_span_processor(Tenant())
    template = SpanTemplate("send orders", SpanKind.PRODUCER, {"shared": 1}, lambda details: {"own": details})
    parent = SpanContext(11, 12, True, TraceFlags(1))
    span = MessageTracer(tracer).start_span(template, None, parent, "m-1", start_time=1000)
    (started,) = _spans(tmp_path / "spool", Kind.SPAN_START)
    assert (started.name, started.start_time_unix_nano, started.end_time_unix_nano) == (
        "send orders",
        1000,
        0,
    )
    assert [pair.key for pair in started.attributes] == ["shared", "own"]
    span.set_attribute(names.CELERY_STATE, "SUCCESS")
    span.end()
    (ended,) = _spans(tmp_path / "spool", Kind.SPAN_END)
    assert ended.end_time_unix_nano > 1000
    assert (ended.trace_id, ended.span_id, ended.parent_span_id) == (
        started.trace_id,
        started.span_id,
        (12).to_bytes(8, "big"),
    )
    added = {"parent": "c"} if beside else {}
    texts = {pair.key: pair.value.string_value for pair in ended.attributes if pair.key != "shared"}
    assert texts == {"own": "m-1", **added, names.CELERY_STATE: "SUCCESS"}


def test_own_providers_do_not_export_beside_the_spool(tmp_path: Path) -> None:
    """With a spool the providers that we make have no batch processors: records leave through the spool only."""
    from handrail_propagation import providers

    config = Config(spool_dir=str(tmp_path / "spool"), forward="none")
    assert list(providers._span_processors(config)) == []
    assert list(providers._log_processors(config)) == []
    assert len(list(providers._span_processors(Config()))) == 1


def test_what_cannot_be_encoded_is_counted(
    recording: Callable[..., Telemetry], caplog: pytest.LogCaptureFixture
) -> None:
    """A span that OTLP cannot express does not fail the work that it describes; it is counted as dropped."""
    now = recording()
    now.tracer.start_span("late", start_time=-5).end()
    assert now.recorder is not None
    assert now.recorder.spool.writer().dropped == 2
    assert "could not be encoded" in caplog.text


def test_a_spool_without_telemetry_is_refused_at_start(tmp_path: Path) -> None:
    """Settings that contradict each other are said at start: a disabled SDK has nothing to record."""
    with pytest.raises(ConfigurationError, match="OTEL_SDK_DISABLED"):
        build(
            Config(spool_dir=str(tmp_path / "spool"), disabled=True),
            tracer_provider=TracerProvider(),
            logger_provider=LoggerProvider(),
            meter_provider=None,
            service_name="",
        )


def test_without_a_spool_nothing_waits() -> None:
    """HANDRAIL_SPOOL_DIR unset: before_act does nothing."""
    before_act(TracerProvider().get_tracer("t").start_span("x"))


def test_the_account_is_exact(recording: Callable[..., Telemetry], tmp_path: Path) -> None:
    """Everything that was recorded can be read: nothing lost, nothing twice."""
    now = recording()
    for _ in range(50):
        with now.tracer.start_as_current_span("execute_tool x", attributes=GATED) as span:
            emit_event(names.EVENT_DECISION, {}, span=span)
    (state,) = survey(tmp_path / "spool")
    assert (state.counts[Kind.SPAN_START], state.counts[Kind.SPAN_END], state.counts[Kind.LOG]) == (
        50,
        50,
        50,
    )
    assert (state.recorded, state.quarantined) == (state.intact, 0)
