"""Models behind the two official SDKs, against a local HTTP server that speaks their APIs, well or badly."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, propagate
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from handrail_agents import contract
from handrail_agents.models import Anthropic, Message, ModelError, OpenAI, Reply, ToolCall, ToolSpec
from handrail_agents.models.base import chat
from handrail_agents.strict_json import StrictJSONError
from handrail_propagation import ConfigurationError
from handrail_propagation import conventions as names

from ..support.model_stub import ARGUMENTS, SECRET, Mode, ModelStub

TOOLS = [ToolSpec("sizes", "Sizes of the tables.", {"type": "object", "properties": {"host": {}}})]
ASKED = [Message("system", "Be brief."), Message("user", "How big is it?")]


@dataclass(frozen=True)
class Provider:
    """What differs between the two APIs."""

    name: str
    model: type[Anthropic] | type[OpenAI]
    path: str
    key_variable: str
    suffix: str
    response_id: str
    response_model: str
    stopped: str
    wants_tools: str


ANTHROPIC = Provider(
    name="anthropic",
    model=Anthropic,
    path="/v1/messages",
    key_variable="ANTHROPIC_API_KEY",
    suffix="",
    response_id="msg_1",
    response_model="claude-test-1",
    stopped="end_turn",
    wants_tools="tool_use",
)
OPENAI = Provider(
    name="openai",
    model=OpenAI,
    path="/v1/chat/completions",
    key_variable="OPENAI_API_KEY",
    suffix="/v1",
    response_id="chatcmpl_1",
    response_model="gpt-test-1",
    stopped="stop",
    wants_tools="tool_calls",
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, address, profile or proxy of the machine reaches the SDKs."""
    import os

    for variable in os.environ:
        if variable.startswith(("ANTHROPIC_", "OPENAI_")) or variable.lower().endswith("_proxy"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def stub() -> Iterator[ModelStub]:
    """The service."""
    with ModelStub() as served:
        yield served


@pytest.fixture(params=[ANTHROPIC, OPENAI], ids=lambda provider: provider.name)
def provider(request: pytest.FixtureRequest) -> Provider:
    """Both, one after the other."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def exported() -> InMemorySpanExporter:
    """Spans of `ask`."""
    return InMemorySpanExporter()


@pytest.fixture
def traces(exported: InMemorySpanExporter) -> TracerProvider:
    """A provider of the test's own."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return provider


@pytest.fixture
def ask(provider: Provider, stub: ModelStub, traces: TracerProvider) -> Callable[..., Reply]:
    """Ask the stub within a `chat` span; options go to the model."""

    def asking(messages: list[Message] = ASKED, *, tools: list[ToolSpec] = TOOLS, **options: Any) -> Reply:
        chosen = {"base_url": stub.url + provider.suffix, "api_key": "test-key", "max_retries": 0}
        model = provider.model("test-model", **(chosen | options))
        return chat(model, messages, tools, traces.get_tracer("tests"))[0]

    return asking


def only(exported: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exported.get_finished_spans()
    return span


def test_an_answer(
    provider: Provider, stub: ModelStub, ask: Callable[..., Reply], exported: InMemorySpanExporter
) -> None:
    """Text comes back; the CLIENT span has model, provider, usage, finish reasons, response id and model."""
    reply = ask()
    assert reply.message == Message("assistant", "Let me look.")
    span = only(exported)
    assert (span.name, span.kind) == ("chat test-model", SpanKind.CLIENT)
    assert span.status.status_code == StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        names.GEN_AI_OPERATION_NAME: "chat",
        names.GEN_AI_PROVIDER_NAME: provider.name,
        names.GEN_AI_REQUEST_MODEL: "test-model",
        names.GEN_AI_RESPONSE_ID: provider.response_id,
        names.GEN_AI_RESPONSE_MODEL: provider.response_model,
        names.GEN_AI_RESPONSE_FINISH_REASONS: (provider.stopped,),
        names.GEN_AI_USAGE_INPUT_TOKENS: 15,
        names.GEN_AI_USAGE_OUTPUT_TOKENS: 5,
    }
    ((path, headers, body),) = stub.requests
    assert path == provider.path
    assert any("test-key" in value for value in headers.values())
    assert body["model"] == "test-model"


def test_a_whole_conversation(provider: Provider, stub: ModelStub, ask: Callable[..., Reply]) -> None:
    """A tool call comes back with its id and arguments; the results return in the API's own form."""
    stub.mode = "tool"
    first = ask()
    (call,) = first.message.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("sizes", ARGUMENTS)
    assert first.finish_reasons == (provider.wants_tools,)
    stub.mode = "answer"
    more = ToolCall("id_2", "sizes", '{"host": "db-8"}')
    turns = [
        Message("assistant", first.message.content, (call, more)),
        Message("tool", '{"orders": 7}', tool_call_id=call.id),
        Message("tool", '{"error": {"type": "denied"}}', tool_call_id="id_2"),
    ]
    assert ask([*ASKED, *turns]).message.content == "Let me look."
    first_body, second_body = (body for _, _, body in stub.requests)
    assert {"sizes"} == {tool.get("name") or tool["function"]["name"] for tool in first_body["tools"]}
    assert second_body["messages"] == EXPECTED_TURNS[provider.name]
    assert second_body.get("system") == ("Be brief." if provider is ANTHROPIC else None)


EXPECTED_TURNS = {
    "anthropic": [
        {"role": "user", "content": [{"type": "text", "text": "How big is it?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "sizes", "input": {"host": "db-7"}},
                {"type": "tool_use", "id": "id_2", "name": "sizes", "input": {"host": "db-8"}},
            ],
        },
        {
            # All results of a turn are blocks of one user turn: two user turns in a row are refused.
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": '{"orders": 7}'},
                {
                    "type": "tool_result",
                    "tool_use_id": "id_2",
                    "content": '{"error": {"type": "denied"}}',
                },
            ],
        },
    ],
    "openai": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How big is it?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "sizes", "arguments": '{"host": "db-7"}'},
                },
                {
                    "id": "id_2",
                    "type": "function",
                    "function": {"name": "sizes", "arguments": '{"host": "db-8"}'},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"orders": 7}'},
        {"role": "tool", "tool_call_id": "id_2", "content": '{"error": {"type": "denied"}}'},
    ],
}


def test_no_tools_no_tools_field(stub: ModelStub, ask: Callable[..., Reply]) -> None:
    """An agent without tools sends no empty list, which the APIs refuse."""
    ask([Message("user", "Hello")], tools=[])
    ((_, _, body),) = stub.requests
    assert not {"tools", "system"} & set(body)


@pytest.mark.parametrize("status", [429, 500, 529])
def test_a_passing_failure_is_retried(
    stub: ModelStub, ask: Callable[..., Reply], exported: InMemorySpanExporter, status: int
) -> None:
    """One refusal, then success: the answer comes, in one span without an error."""
    stub.status, stub.fail_first = status, 1
    assert ask(max_retries=2).message.content == "Let me look."
    assert len(stub.requests) == 2
    assert only(exported).status.status_code == StatusCode.UNSET


@dataclass(frozen=True)
class Fault:
    """A way to fail; what the error says and what `error.type` is."""

    said: str
    error_type: str
    mode: Mode = "answer"
    status: int = 200
    options: tuple[tuple[str, Any], ...] = ()
    requests: int = 1


FAULTS = {
    "500 for good": Fault("answered HTTP 500; the service has a problem", "500", status=500),
    "500 and retries": Fault(
        "answered HTTP 500", "500", status=500, options=(("max_retries", 1),), requests=2
    ),
    "429 for good": Fault("raise max_retries=", "429", status=429),
    "401": Fault("answered HTTP 401; check {key}", "401", status=401),
    "403": Fault("the key in {key} may not use it", "403", status=403),
    "404": Fault("check the model's name and base_url=", "404", status=404),
    "400": Fault("the request does not suit it", "400", status=400),
    "413": Fault("the conversation is too large", "413", status=413),
    "418": Fault("see the provider's documentation", "418", status=418),
    "not JSON": Fault("check that base_url= is that of its API", "invalid_response", mode="not-json"),
    "HTML": Fault("check that base_url= is that of its API", "invalid_response", mode="html"),
    "wrong shape": Fault("check that base_url= is that of its API", "invalid_response", mode="wrong-shape"),
    "silence": Fault("did not answer in time", "timeout", mode="silent", options=(("timeout", 0.2),)),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_failure_is_one_clear_line(
    provider: Provider,
    stub: ModelStub,
    ask: Callable[..., Reply],
    exported: InMemorySpanExporter,
    fault: Fault,
) -> None:
    """Each failure says which model, what happened and what to do, without a word of what the service sent."""
    stub.mode, stub.status = fault.mode, fault.status
    with pytest.raises(ModelError) as caught:
        ask(**dict(fault.options))
    line = str(caught.value)
    assert fault.said.format(key=provider.key_variable) in line
    assert f"'test-model' ({provider.name})" in line
    assert len(stub.requests) == fault.requests
    check_failed(caught.value, only(exported), fault.error_type)


def check_failed(error: Exception, span: ReadableSpan, error_type: str) -> None:
    """One line; ERROR with the type only; neither message nor span has a secret."""
    assert "\n" not in str(error)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, error_type)
    assert (span.attributes or {})[names.ERROR_TYPE] == error_type
    assert span.events == ()
    for secret in (SECRET, "sk-secret-key", "test-key", "How big is it?"):
        assert secret not in str(error)
        assert secret not in span.to_json()


def test_an_answer_without_anything(
    provider: Provider, stub: ModelStub, ask: Callable[..., Reply], exported: InMemorySpanExporter
) -> None:
    """No choice at all is an error; an Anthropic turn without blocks is how its models say "nothing to add"."""
    stub.mode = "empty"
    if provider is ANTHROPIC:
        assert ask().message == Message("assistant", "")
    else:
        with pytest.raises(ModelError, match="something without choices") as caught:
            ask()
        check_failed(caught.value, only(exported), "invalid_response")


def test_broken_arguments_pass_through(stub: ModelStub, ask: Callable[..., Reply]) -> None:
    """Arguments that are no JSON object are not mended: the contract refuses them, and the model is told."""
    stub.mode = "broken-arguments"
    reply = ask()
    (call,) = reply.message.tool_calls
    with pytest.raises(StrictJSONError):
        contract.split(call.arguments)
    stub.mode = "answer"
    ask([*ASKED, reply.message, Message("tool", "{}", tool_call_id=call.id)])
    assert len(stub.requests) == 2


def test_wrong_types_in_the_small_print(
    stub: ModelStub, ask: Callable[..., Reply], exported: InMemorySpanExporter
) -> None:
    """An answer with usage, id or model of another type is an answer; what is no number or text is left out."""
    stub.mode = "wrong-types"
    assert ask().message.content == "Let me look."
    attributes = only(exported).attributes or {}
    assert not set(attributes) & {
        names.GEN_AI_RESPONSE_ID,
        names.GEN_AI_RESPONSE_MODEL,
        names.GEN_AI_RESPONSE_FINISH_REASONS,
        names.GEN_AI_USAGE_INPUT_TOKENS,
        names.GEN_AI_USAGE_OUTPUT_TOKENS,
    }
    assert all(isinstance(value, (str, int)) for value in attributes.values())


def test_what_no_encoder_takes_is_replaced(
    stub: ModelStub, ask: Callable[..., Reply], exported: InMemorySpanExporter
) -> None:
    """Lone surrogates of a service break neither the export nor the next request of the conversation."""
    stub.mode = "surrogates"
    reply = ask()
    (call,) = reply.message.tool_calls
    (reply.message.content + call.id).encode()
    only(exported).to_json().encode()
    ask([*ASKED, reply.message, Message("tool", "\ud800", tool_call_id=call.id)])
    assert len(stub.requests) == 2


def test_a_missing_key(
    provider: Provider, stub: ModelStub, ask: Callable[..., Reply], exported: InMemorySpanExporter
) -> None:
    """Without a key nothing is sent, and the error names the variable."""
    with pytest.raises(ModelError, match=provider.key_variable) as caught:
        ask(api_key=None)
    assert stub.requests == []
    assert "\n" not in str(caught.value)
    assert only(exported).status.status_code == StatusCode.ERROR


def test_key_and_address_from_the_environment(
    provider: Provider, stub: ModelStub, ask: Callable[..., Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's own variables work."""
    monkeypatch.setenv(provider.key_variable, "key-of-the-environment")
    monkeypatch.setenv(provider.key_variable.replace("API_KEY", "BASE_URL"), stub.url + provider.suffix)
    ask(api_key=None, base_url=None)
    ((_, headers, _),) = stub.requests
    assert any("key-of-the-environment" in value for value in headers.values())


def test_an_unreachable_server(
    provider: Provider, ask: Callable[..., Reply], exported: InMemorySpanExporter
) -> None:
    """Nobody listens: the error says to look at the address and the network."""
    with ModelStub() as gone:
        url = gone.url
    with pytest.raises(ModelError, match="check base_url= and the network") as caught:
        ask(base_url=url + provider.suffix)
    check_failed(caught.value, only(exported), caught.value.error_type)


def test_a_missing_sdk(
    provider: Provider,
    ask: Callable[..., Reply],
    exported: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error names the extra to install, and is not taken for a failure of the model."""
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name == provider.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ConfigurationError) as caught:
        ask()
    assert f"pip install 'handrail[{provider.name}]'" in str(caught.value)
    check_failed(caught.value, only(exported), "ConfigurationError")


def test_no_trace_context_goes_to_the_provider(stub: ModelStub, ask: Callable[..., Reply]) -> None:
    """A provider is outside: it gets neither the trace nor the baggage of the run."""
    token = context.attach(baggage.set_baggage(names.BAGGAGE_RUN_ID, "run-1"))
    try:
        ask()
    finally:
        context.detach(token)
    ((_, headers, _),) = stub.requests
    assert not {name.lower() for name in headers} & set(propagate.get_global_textmap().fields)


def test_a_client_is_built_once_for_a_process(provider: Provider, stub: ModelStub) -> None:
    """Calls share a client and its connections; a forked child builds its own."""
    model: Any = provider.model("test-model", base_url=stub.url + provider.suffix, api_key="k")
    first = model._client.get()
    assert model._client.get() is first
    model._client._pid -= 1
    assert model._client.get() is not first


INSTRUMENTORS = {
    "anthropic": ("opentelemetry.instrumentation.genai.anthropic", "AnthropicInstrumentor"),
    "openai": ("opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor"),
}


@pytest.fixture
def instrumentation(provider: Provider, traces: TracerProvider) -> Iterator[None]:
    """OpenTelemetry's own instrumentation of the SDK, on the same provider."""
    module, name = INSTRUMENTORS[provider.name]
    instrumentor: BaseInstrumentor = getattr(importlib.import_module(module), name)()
    instrumentor.instrument(tracer_provider=traces, skip_dep_check=True)
    yield
    instrumentor.uninstrument()


@pytest.mark.usefixtures("instrumentation")
def test_one_span_where_the_sdk_is_instrumented(
    stub: ModelStub, ask: Callable[..., Reply], exported: InMemorySpanExporter
) -> None:
    """Who has instrumented the SDK gets one `chat` span a call, ours; a failed one is as clean as ever."""
    ask()
    assert only(exported).instrumentation_scope.name == "tests"  # type: ignore[union-attr]
    exported.clear()
    stub.status = 400
    with pytest.raises(ModelError) as caught:
        ask()
    check_failed(caught.value, only(exported), "400")


@pytest.mark.usefixtures("instrumentation")
def test_other_uses_of_an_instrumented_sdk_keep_their_spans(
    provider: Provider, stub: ModelStub, ask: Callable[..., Reply], exported: InMemorySpanExporter
) -> None:
    """Only our own calls are kept out of that instrumentation, not those of the application."""
    ask()
    model: Any = provider.model("test-model", base_url=stub.url + provider.suffix, api_key="k")
    client, asked = model._client.get(), {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    if provider is ANTHROPIC:
        client.messages.create(max_tokens=5, **asked)
    else:
        client.chat.completions.create(**asked)
    scopes = [span.instrumentation_scope.name for span in exported.get_finished_spans()]  # type: ignore[union-attr]
    assert scopes == ["tests", INSTRUMENTORS[provider.name][0]]


def test_the_sdks_own_spans_are_off(provider: Provider, stub: ModelStub) -> None:
    """With a global provider, as in a worker, the SDK adds no span of its own beside ours."""
    code = f"""
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
from handrail_agents.models import {provider.model.__name__}, Message
from handrail_agents.models.base import chat
model = {provider.model.__name__}("m", base_url={stub.url + provider.suffix!r}, api_key="k")
chat(model, [Message("user", "Hello")], [], trace.get_tracer("ours"))
print(*(span.instrumentation_scope.name for span in exporter.get_finished_spans()))
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["ours"]
    ((_, headers, _),) = stub.requests
    assert "traceparent" not in {name.lower() for name in headers}
