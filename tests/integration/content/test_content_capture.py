"""Where prompts, answers, arguments and results go: nowhere by default, into redacted events when asked for.

A real worker, its real exporters, and everything that arrived in the store.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from handrail_harness.spans import LogEvent, Span
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.stack.workers import Worker
from handrail_propagation import conventions as names

pytestmark = pytest.mark.integration

APPS = Path(__file__).parent / "apps"
KEY = "sk-" + "ant-" + "api03-" + "Zx8Kq2" * 4
PATIENCE = 60.0


@dataclass
class Left:
    """What one run of the agent left: in the store, on disk, in the worker's log."""

    spans: list[Span]
    events: list[LogEvent]
    files: bytes
    log: str

    def of(self, event: str) -> list[LogEvent]:
        """The events of one name, in order; there are some."""
        found = sorted(
            (one for one in self.events if one.event_name == event), key=lambda one: one.time_unix_nano
        )
        assert found
        return found


@pytest.fixture
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Left]:
    """One run of `keeper` with the capture mode that the test asks for; a stack of its own."""
    mode: str | None = request.param
    prefix = f"vault-{secrets.token_hex(4)}-"
    with EmbeddedStack(data_dir=tmp_path / "data") as stack:
        env = {**stack.environ(), "TEST_QUEUE_PREFIX": prefix}
        if mode is not None:
            env[names.CAPTURE_CONTENT_VARIABLE] = mode
        worker = Worker(
            "vault:app", [f"{prefix}keeper"], pool="solo", cwd=APPS, env=env, log_path=tmp_path / "log"
        )
        worker.start()
        try:
            # A plain message from a plain producer: this process records nothing.
            with Celery("sender", broker=stack.redis_url, set_as_current=False) as app:
                app.send_task("keeper", kwargs={"secret": KEY}, queue=f"{prefix}keeper")
            source = stack.source()
            try:
                trace_id = _finished(source, worker)
                worker.stop()
                spans, events = list(source.spans(trace_id)), list(source.events(trace_id))
            finally:
                source.close()
        finally:
            worker.stop()
        files = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
        yield Left(spans, events, files, worker.log())


def _finished(source: Any, worker: Worker) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for summary in source.traces():
            if any(span.name == "invoke_agent keeper" for span in source.spans(summary.trace_id)):
                return str(summary.trace_id)
        time.sleep(0.05)
    raise AssertionError(f"no run arrived\n{worker.log(30)}")


@pytest.mark.parametrize("left", [None, "NO_CONTENT"], indirect=True)
def test_nothing_of_the_content_leaves_by_default(left: Left) -> None:
    """Prompt, system text, answers, arguments, results and exceptions are in no span, event, file or log."""
    assert {span.name for span in left.spans} >= {
        "chat scripted",
        "execute_tool look_up",
        "execute_tool store",
    }
    assert left.of(names.EVENT_DECISION)
    assert not [one for one in left.events if one.event_name != names.EVENT_DECISION]
    for canary in ("canary", "hunter2", KEY):
        assert canary not in repr(left.spans)
        assert canary not in repr(left.events)
        assert canary.encode() not in left.files
        assert canary not in left.log


@pytest.mark.parametrize("left", ["EVENT_ONLY"], indirect=True)
def test_under_event_only_content_is_in_events_and_redacted(left: Left) -> None:
    """Content is in DEBUG events of the span it belongs to, in the conventions' form, never on the span."""
    assert left.spans
    assert "canary" not in repr(left.spans)
    assert "canary" not in left.log
    for secret in (KEY, "hunter2", "canary-pin", "canary-exception"):
        assert secret not in repr(left.events), secret
        assert secret.encode() not in left.files, secret

    spans = {span.span_id: span for span in left.spans}
    first, last = left.of(names.EVENT_INFERENCE_DETAILS)
    assert spans[first.span_id].name == spans[last.span_id].name == "chat scripted"
    assert first.attributes[names.GEN_AI_REQUEST_MODEL] == "scripted"
    assert "canary-system" in json.dumps(first.attributes[names.GEN_AI_SYSTEM_INSTRUCTIONS])
    assert first.attributes[names.GEN_AI_INPUT_MESSAGES] == [
        {"role": "user", "parts": [{"type": "text", "content": "canary-prompt: the key is [redacted]"}]}
    ]
    answer: Any = first.attributes[names.GEN_AI_OUTPUT_MESSAGES]
    assert [(one["role"], one["finish_reason"]) for one in answer] == [("assistant", "tool_call")]
    text, looked, stored, malformed = answer[0]["parts"]
    assert text == {"type": "text", "content": "canary-answer"}
    assert (looked["type"], looked["name"]) == ("tool_call", "look_up")
    assert looked["arguments"] == {"name": "canary-argument"}
    assert stored["arguments"]["pin"] == "[redacted]"
    assert malformed["arguments"] == "[redacted]"
    told: Any = last.attributes[names.GEN_AI_INPUT_MESSAGES]
    (response,) = told[2]["parts"]
    assert (response["type"], response["id"]) == ("tool_call_response", looked["id"])
    assert response["response"] == {"note": "canary-result of canary-argument", "password": "[redacted]"}

    tools = left.of(names.EVENT_TOOL_CONTENT)
    assert [spans[one.span_id].name for one in tools] == [
        "execute_tool look_up",
        "execute_tool look_up",
        "execute_tool store",
        "execute_tool store",
    ]
    arguments, result, write, nothing = (one.attributes for one in tools)
    assert arguments[names.GEN_AI_TOOL_CALL_ARGUMENTS] == {"name": "canary-argument"}
    assert result[names.GEN_AI_TOOL_CALL_RESULT] == response["response"]
    assert write[names.GEN_AI_TOOL_CALL_ARGUMENTS] == {"text": "canary-text", "pin": "[redacted]"}
    assert names.GEN_AI_TOOL_CALL_RESULT not in nothing


@pytest.mark.parametrize("mode", ["SPAN_ONLY", "span_and_event", "true"])
def test_content_on_spans_is_refused_at_start(mode: str, tmp_path: Path) -> None:
    """A worker with another value does not start, and says in its log what to set instead."""
    env = {
        "HANDRAIL_REDIS_URL": "redis://127.0.0.1:1/0",
        "TEST_QUEUE_PREFIX": "x",
        names.CAPTURE_CONTENT_VARIABLE: mode,
    }
    worker = Worker("vault:app", ["x"], pool="solo", cwd=APPS, env=env, log_path=tmp_path / "log")
    with pytest.raises(Exception, match=names.CAPTURE_CONTENT_VARIABLE):
        worker.start()
    assert "EVENT_ONLY" in worker.log()
