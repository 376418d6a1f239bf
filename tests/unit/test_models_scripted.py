"""The scripted model, the `chat` span around any model, and what opening a model by name does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from handrail_agents.models import (
    Anthropic,
    Message,
    Model,
    ModelError,
    OpenAI,
    Reply,
    Scripted,
    ToolSpec,
    call,
    calls,
    open_model,
    say,
)
from handrail_agents.models.base import chat
from handrail_propagation import ConfigurationError
from handrail_propagation import conventions as names

ASKED = [Message("system", "Be brief."), Message("user", "How big is it?")]


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Spans that were exported by `tracer`."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> Tracer:
    """A tracer of a provider of the test's own."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider.get_tracer("tests")


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


def test_turns_are_played_in_order() -> None:
    """The turn is chosen by the answers in the conversation, so a replay in another process gives the same."""
    script = Scripted([call("sizes", {"host": "db-7"}), say("It is small.")])
    first = script.generate(ASKED, ())
    assert first == Scripted(script.turns).generate(ASKED, ())
    (asked,) = first.message.tool_calls
    assert (asked.name, json.loads(asked.arguments)) == ("sizes", {"host": "db-7"})
    told = Message("tool", "{}", tool_call_id=asked.id)
    last = script.generate([*ASKED, first.message, told], ())
    assert (last.message.content, last.message.tool_calls) == ("It is small.", ())
    assert (first.finish_reasons, last.finish_reasons) == (("tool_calls",), ("stop",))


def test_a_decision_becomes_the_decision_argument() -> None:
    """`decision=` is sent the way that the contract asks for; the arguments are not changed."""
    arguments = {"host": "db-7"}
    turn = call("drop", arguments, decision={"intent": "free space"})
    assert json.loads(turn.calls[0][1]) == {"host": "db-7", "_decision": {"intent": "free space"}}
    assert arguments == {"host": "db-7"}


def test_malformed_arguments_are_sent_as_they_are() -> None:
    """A string of arguments is not touched, so that a test can play a model that sends garbage."""
    assert call("drop", '{"host": ').calls == (("drop", '{"host": '),)


def test_several_calls_in_one_turn() -> None:
    """`calls` puts the calls of several turns into one, in order, each with an id of its own."""
    reply = Scripted([calls(call("one", {}, text="Both. "), call("two", {}))]).generate(ASKED, ())
    assert reply.message.content == "Both. "
    assert [one.name for one in reply.message.tool_calls] == ["one", "two"]
    assert len({one.id for one in reply.message.tool_calls}) == 2


def test_a_script_that_is_too_short_says_so() -> None:
    """Past the last turn the error names the model and what to add."""
    with pytest.raises(ModelError, match=r"add a closing say\(") as caught:
        Scripted([], model="planner").generate(ASKED, ())
    assert "'planner'" in str(caught.value)
    assert caught.value.error_type == "script_exhausted"


def test_the_span_of_a_model_in_this_process(spans: InMemorySpanExporter, tracer: Tracer) -> None:
    """It is INTERNAL, has no status, and says model, provider, usage and why the model stopped."""
    reply, context = chat(Scripted([say("It is small.")], model="planner"), ASKED, (), tracer)
    span = only(spans)
    assert (span.name, span.kind, span.status.status_code) == (
        "chat planner",
        SpanKind.INTERNAL,
        StatusCode.UNSET,
    )
    assert span.context == context
    assert dict(span.attributes or {}) == {
        names.GEN_AI_OPERATION_NAME: "chat",
        names.GEN_AI_PROVIDER_NAME: "handrail.scripted",
        names.GEN_AI_REQUEST_MODEL: "planner",
        names.GEN_AI_RESPONSE_MODEL: "planner",
        names.GEN_AI_RESPONSE_FINISH_REASONS: ("stop",),
        names.GEN_AI_USAGE_INPUT_TOKENS: reply.input_tokens,
        names.GEN_AI_USAGE_OUTPUT_TOKENS: 3,
    }


@dataclass
class Odd:
    """Somebody else's model, which does what it is told with `answer`."""

    answer: Any
    model: str = "odd"
    provider: str = "nobody"

    def generate(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Reply:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("answer", "error_type"),
    [
        (RuntimeError("the prompt was: sk-secret"), "RuntimeError"),
        (KeyError("sk-secret"), "KeyError"),
        ("sk-secret", "model_error"),
        (None, "model_error"),
        (Reply(Message("assistant", ""), response_id=7), "TypeError"),  # type: ignore[arg-type]
        (ModelError("the model is asleep", error_type="asleep"), "asleep"),
    ],
)
def test_any_failure_of_a_model_is_a_model_error(
    spans: InMemorySpanExporter, tracer: Tracer, answer: Any, error_type: str
) -> None:
    """Whatever a model raises or returns is one `ModelError`; its span is failed and says the type only."""
    model = Odd(answer)
    assert isinstance(model, Model)
    with pytest.raises(ModelError) as caught:
        chat(model, ASKED, (), tracer)
    span = only(spans)
    assert caught.value.error_type == error_type
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, error_type)
    assert (span.attributes or {})[names.ERROR_TYPE] == error_type
    assert "sk-secret" not in str(caught.value)
    assert "sk-secret" not in span.to_json()
    assert "\n" not in str(caught.value)
    assert span.events == ()


def test_a_model_is_remote_unless_it_says_otherwise(spans: InMemorySpanExporter, tracer: Tracer) -> None:
    """The span is a CLIENT; what a service calls its answer is bounded and can be exported."""
    reply = Reply(Message("assistant", "yes"), response_id="i" * 1_000, response_model="m\ud800")
    chat(Odd(reply), ASKED, (), tracer)
    span = only(spans)
    assert span.kind == SpanKind.CLIENT
    assert (span.attributes or {})[names.GEN_AI_RESPONSE_ID] == "i" * 256
    assert (span.attributes or {})[names.GEN_AI_RESPONSE_MODEL] == "m?"
    assert names.GEN_AI_USAGE_INPUT_TOKENS not in (span.attributes or {})


def test_a_message_survives_the_journal() -> None:
    """What is written to the journal and read again is the same message."""
    message = Scripted([call("sizes", '{"host": ', text="Let me look.")]).generate(ASKED, ()).message
    for one in (*ASKED, message, Message("tool", "{}", tool_call_id="call_1_1")):
        assert Message.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_open_model() -> None:
    """`PROVIDER:NAME` names a model; a name may hold colons of its own."""
    assert isinstance(open_model("anthropic:claude-sonnet-4-5"), Anthropic)
    model = open_model("openai:llama3:8b")
    assert isinstance(model, OpenAI)
    assert model.model == "llama3:8b"


@pytest.mark.parametrize("name", ["", "gpt-5", "openai:", "google:gemini", ":x"])
def test_open_model_says_what_to_write(name: str) -> None:
    """Another name is refused with the two forms that there are."""
    with pytest.raises(ConfigurationError, match="anthropic:NAME or openai:NAME"):
        open_model(name)


def test_importing_the_models_imports_no_sdk() -> None:
    """The SDKs take a second to import and may not be installed: they come when a model is asked."""
    code = (
        "import sys; from handrail_agents.models import Anthropic, OpenAI\n"
        "Anthropic('a'), OpenAI('b')\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(run.stdout.split())
    assert "handrail_agents" in loaded
    assert not loaded & {"anthropic", "openai", "httpx", "httpx2"}
