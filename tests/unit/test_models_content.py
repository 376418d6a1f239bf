"""The events that carry content: in the span's context, DEBUG, bounded, and never in the way of the call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from handrail_agents.models import Message, ModelError, Reply, Scripted, ToolCall, ToolSpec, say
from handrail_agents.models.base import chat
from handrail_agents.models.content import CONTENT_MAX_CHARS, record_arguments, record_result
from handrail_propagation import conventions as names
from handrail_propagation import instrument, tracer, uninstrument


class Recorded:
    """What this process has recorded."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.logs = InMemoryLogRecordExporter()

    def events(self) -> list[Any]:
        records: tuple[ReadableLogRecord, ...] = self.logs.get_finished_logs()
        return [one.log_record for one in records]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Recorded]:
    """Instrumented with providers of the test's own, content capture as the test asks (default: EVENT_ONLY)."""
    monkeypatch.setenv(names.CAPTURE_CONTENT_VARIABLE, getattr(request, "param", "EVENT_ONLY"))
    found = Recorded()
    traces, events = TracerProvider(), LoggerProvider()
    traces.add_span_processor(SimpleSpanProcessor(found.spans))
    events.add_log_record_processor(SimpleLogRecordProcessor(found.logs))
    instrument(tracer_provider=traces, logger_provider=events)
    yield found
    uninstrument()


def test_a_model_call_is_one_debug_event(recorded: Recorded) -> None:
    """The event belongs to the `chat` span, says what the span says, and is not repeated on the span."""
    chat(Scripted([say("It is small.")]), [Message("user", "How big?")], (), tracer())
    (span,) = recorded.spans.get_finished_spans()
    (event,) = recorded.events()
    assert event.event_name == "gen_ai.client.inference.operation.details"
    assert (event.severity_number, event.severity_text) == (SeverityNumber.DEBUG, "DEBUG")
    assert (event.trace_id, event.span_id) == (span.context.trace_id, span.context.span_id)  # type: ignore[union-attr]
    assert dict(span.attributes or {}).items() <= dict(event.attributes).items()
    assert span.events == ()
    assert json.loads(json.dumps(event.attributes[names.GEN_AI_OUTPUT_MESSAGES])) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "It is small."}],
            "finish_reason": "stop",
        }
    ]


def test_a_failed_call_keeps_its_question(recorded: Recorded) -> None:
    """Of a call without an answer the event has what was asked, and the error's type."""
    with pytest.raises(ModelError):
        chat(Scripted([]), [Message("user", "How big?")], (), tracer())
    (event,) = recorded.events()
    assert event.attributes[names.ERROR_TYPE] == "script_exhausted"
    assert "How big?" in json.dumps(event.attributes[names.GEN_AI_INPUT_MESSAGES])
    assert names.GEN_AI_OUTPUT_MESSAGES not in event.attributes


@pytest.mark.parametrize("recorded", ["NO_CONTENT"], indirect=True)
def test_off_is_off(recorded: Recorded) -> None:
    """Without EVENT_ONLY there is no event, for models as for tools."""
    chat(Scripted([say("It is small.")]), [Message("user", "How big?")], (), tracer())
    record_arguments({}, {"host": "db-7"}, credential=None)
    record_result({}, "done")
    assert recorded.spans.get_finished_spans()
    assert recorded.events() == []


def test_a_long_conversation_loses_its_beginning(recorded: Recorded) -> None:
    """The event stays bounded; what the model was told last is in it."""
    messages = [Message("user", f"turn {number}: " + "word " * 2_000) for number in range(100)]
    chat(Scripted([say("yes")]), messages, (), tracer())
    (event,) = recorded.events()
    text = json.dumps(event.attributes[names.GEN_AI_INPUT_MESSAGES])
    assert len(text) < 1.2 * CONTENT_MAX_CHARS
    assert "turn 99:" in text
    assert "turn 0:" not in text


def test_a_credential_is_left_out_wherever_the_call_is_told(recorded: Recorded) -> None:
    """The argument that a tool declares as its credential is masked, whatever it looks like."""
    tools = [ToolSpec("wipe", "", {}, credential="how")]
    asked = Message("assistant", "", (ToolCall("1", "wipe", '{"how": "plain-canary"}'),))
    broken = Message("assistant", "", (ToolCall("2", "wipe", '{"how": "plain-canary'),))
    chat(Scripted([say("a"), say("b"), say("c")]), [asked, broken], tools, tracer())
    record_arguments({}, {"how": "plain-canary", "what": "disk"}, credential="how")
    told = [json.dumps(dict(event.attributes)) for event in recorded.events()]
    assert len(told) == 2
    assert "plain-canary" not in "".join(told)
    assert "disk" in told[1]


def test_what_cannot_be_recorded_does_not_stop_the_call(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """A conversation that cannot be told is a warning with the error's type, and the answer still comes."""
    odd = Message("tool", 7, tool_call_id="1")  # type: ignore[arg-type]
    model = _Fixed(Reply(Message("assistant", "fine")))
    assert chat(model, [odd], (), tracer())[0].message.content == "fine"
    assert recorded.events() == []
    assert "could not be recorded (TypeError)" in caplog.text


class _Fixed:
    provider = model = "fixed"

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def generate(self, messages: object, tools: object) -> Reply:
        return self._reply
