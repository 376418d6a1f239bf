"""What becomes of tool calls on a real worker: no record, no call; the gate; what is recorded and what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from handrail_agents import Done, Refused, Waiting
from handrail_harness.rules import Report
from handrail_harness.spans import Span
from handrail_harness.stack.workers import running
from handrail_propagation import conventions as names

from .conftest import Crew, record, segments, text, tools

pytestmark = pytest.mark.integration


def dispositions(report: Report) -> list[str]:
    """What became of each call, in their order; of a call that did not run its span says so."""
    spans = tools(report)
    for span in spans:
        ran = span.text(names.TOOL_DISPOSITION) == "executed"
        assert (span.text(names.TOOL_RESULT_STATUS) == "none") is not ran
    return [span.text(names.TOOL_DISPOSITION) for span in spans]


def refused(crew: Crew, call: list[str]) -> tuple[dict[str, Any], Report]:
    """Let the model make one call that must not run; return what it is told."""
    outcome, report = crew.run("puppet", script=[[call]])
    assert isinstance(outcome, Done), outcome
    ((told,)) = outcome.value
    assert told["error"]["executed"] is False
    return told["error"], report


def test_no_record_no_call(crew: Crew, key: str) -> None:
    """Without a record a tool above `read` does not run; the model is told, tries again with one, and it runs."""
    outcome, report = crew.run(
        "puppet",
        script=[[["note", text(key=key)]], [["note", text(key=key, _decision=record())]]],
    )
    assert isinstance(outcome, Done)
    first, second = outcome.value
    assert first["error"] == {
        "type": "no_decision_record",
        "detail": "_decision is missing",
        "executed": False,
    }
    assert second == "line 1"
    assert crew.effects(key) == 1
    assert dispositions(report) == ["no_decision_record", "executed"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('{"intent": "i", "intent": "j"}', "the same key twice"),
        ('{"intent": NaN}', "NaN is not a JSON number"),
        ('{"intent": ' + "[" * 40 + "]" * 40 + "}", "nested deeper"),
    ],
)
def test_arguments_with_more_than_one_meaning(crew: Crew, key: str, raw: str, said: str) -> None:
    """What is not one JSON object with one meaning is refused as a whole, the record in it included."""
    error, report = refused(crew, ["note", f'{{"key": "{key}", "_decision": {raw}}}'])
    assert error["type"] == "invalid_arguments"
    assert said in error["detail"]
    assert dispositions(report) == ["invalid_arguments"]
    assert crew.effects(key) == 0


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        (record(risk="harmless"), "risk: Input should be 'read'"),
        (record(reversible="no"), "reversible: Input should be a valid boolean"),
        (record(approved_by="the operator"), "approved_by: Extra inputs are not permitted"),
        (record(intent=" "), "intent: String should have at least 1 character"),
        ({}, "intent: Field required"),
        ("it has to be done", "_decision is not JSON"),
        ('{"intent": "i", "intent": "j"}', "the same key twice"),
        (None, "malformed"),
    ],
)
def test_malformed_record_is_none(crew: Crew, key: str, decision: Any, said: str) -> None:
    """A record that is not exactly one is none: the tool does not run, and the model is told what to correct."""
    error, report = refused(crew, ["note", text(key=key, _decision=decision)])
    assert error["type"] == "no_decision_record"
    assert said in error["detail"]
    assert dispositions(report) == ["no_decision_record"]
    assert crew.effects(key) == 0


def test_record_as_json_text(crew: Crew, key: str) -> None:
    """Some models give nested objects as text: the same record, read as strictly."""
    outcome, report = crew.run(
        "puppet", script=[[["note", text(key=key, _decision=json.dumps(record(intent="say it in text")))]]]
    )
    assert outcome == Done(["line 1"])
    (span,) = tools(report)
    assert span.attributes[names.DECISION_INTENT] == "say it in text"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (text(), "key: Field required"),
        (text(key=5), "key: Input should be a valid string"),
        (text(key="k", colour="red"), "colour: Extra inputs are not permitted"),
        ("[1, 2]", "not a JSON object"),
        ("{", "not JSON"),
    ],
)
def test_invalid_arguments_come_first(crew: Crew, arguments: str, said: str) -> None:
    """Arguments are checked before the record, the gate or anything else; here of a call that would wait."""
    error, report = refused(crew, ["wipe", arguments])
    assert error["type"] == "invalid_arguments"
    assert said in error["detail"]
    (span,) = tools(report)
    assert span.attributes[names.TOOL_DISPOSITION] == "invalid_arguments"
    assert names.TOOL_ARGS_DIGEST not in span.attributes
    assert names.TOOL_TOUCHES not in span.attributes


def test_unknown_tool(crew: Crew) -> None:
    """A tool that does not exist is told so with the list of those that do; its name is the model's text."""
    error, report = refused(crew, ["rm -rf / canary-name", text(key="k")])
    assert error["type"] == "unknown_tool"
    assert "the tools are: note, look, " in error["detail"]
    assert dispositions(report) == ["unknown_tool"]
    assert "canary-name" not in repr(report.forest.spans)


@pytest.mark.parametrize(("tool", "risk"), [("wipe", "destructive"), ("grant", "access_change")])
def test_high_risk_waits_for_a_human(crew: Crew, key: str, tool: str, risk: str) -> None:
    """Destructive and access-changing calls do not run: the run waits, and says for which call."""
    outcome, report = crew.run("puppet", script=[[[tool, text(key=key, _decision=record(risk=risk))]]])
    assert isinstance(outcome, Waiting)
    call = outcome.approval.call
    assert (call.tool, call.risk, call.agent) == (tool, risk, "puppet")
    assert [touched.partition("://")[2] for touched in call.touches] == [key]
    assert crew.effects(key) == 0
    (span,) = tools(report)
    assert span.attributes[names.TOOL_DISPOSITION] == "awaiting_approval"
    assert span.attributes[names.APPROVAL_ID] == outcome.approval.id
    assert span.attributes[names.DECISION_RISK] == risk
    assert names.GATE not in span.attributes


def test_high_risk_of_a_child_is_the_runs_outcome(crew: Crew, key: str) -> None:
    """A call that waits deep in a run is what the sender gets to know; the parent does not go on past it."""
    decision = record(risk="destructive")
    outcome, _ = crew.run(
        "boss", before=f"{key}-1", calls=[["wipe", {"key": key}]], decision=decision, after=f"{key}-2"
    )
    assert isinstance(outcome, Waiting)
    assert (outcome.approval.call.agent, outcome.approval.call.tool) == ("hand", "wipe")
    assert [crew.effects(name) for name in (f"{key}-1", key, f"{key}-2")] == [1, 0, 0]


def test_a_tool_that_declares_nothing_is_destructive(crew: Crew, key: str) -> None:
    """Forgetting to say what a tool may do does not let it run."""
    outcome, report = crew.run(
        "hand", calls=[["undeclared", {"key": key}]], decision=record(risk="read", reversible=True)
    )
    assert isinstance(outcome, Waiting)
    assert crew.effects(key) == 0
    (span,) = tools(report)
    assert span.attributes[names.DECISION_RISK] == "destructive"
    assert span.attributes[names.DECISION_DECLARED_RISK] == "read"
    assert span.attributes[names.DECISION_REVERSIBLE] is False


@pytest.mark.parametrize("tool", ["look", "note"])
def test_declared_risk_raises_the_effective_one(crew: Crew, key: str, tool: str) -> None:
    """What the caller calls destructive waits, whatever the tool registers."""
    outcome, report = crew.run(
        "puppet", script=[[[tool, text(key=key, _decision=record(risk="destructive"))]]]
    )
    assert isinstance(outcome, Waiting)
    assert outcome.approval.call.risk == "destructive"
    assert crew.effects(key) == 0
    assert dispositions(report) == ["awaiting_approval"]


def test_code_that_catches_everything_does_not_get_past_the_gate(crew: Crew, key: str) -> None:
    """An agent that swallows what stops it changes nothing: the call does not run, the run waits."""
    outcome, report = crew.run("stubborn", key=key)
    assert isinstance(outcome, Waiting)
    assert crew.effects(key) == 0
    assert dispositions(report) == ["awaiting_approval"]


def test_record_is_on_the_span_and_an_event(crew: Crew, key: str) -> None:
    """The decision is on the tool's span and, as an event in that span's context, in the log."""
    decision = record(intent="keep a line", why="nothing else keeps it", reversible=True)
    job = crew.ops.send("puppet", script=[[["note", text(key=key, _decision=decision)]]])
    assert crew.end(job) == Done(["line 1"])
    report = crew.report(job)
    (span,) = tools(report)
    expected = {
        names.DECISION_INTENT: "keep a line",
        names.DECISION_REASONING: "nothing else keeps it",
        names.DECISION_CONTEXT_SOURCE: "operator",
        names.DECISION_RISK: "write",
        names.DECISION_REVERSIBLE: True,
    }
    assert {name: span.attributes[name] for name in expected} == expected
    (event,) = crew.events(job, 1)
    assert (event.span_id, event.trace_id) == (span.span_id, span.trace_id)
    assert {name: event.attributes[name] for name in expected} == expected
    assert event.attributes[names.DECISION_ID] == span.attributes[names.DECISION_ID]
    # Who asked for the call: the model's turn, by its own id
    (link,) = span.links
    assert report.forest.by_key[(link.trace_id, link.span_id)].name == "chat puppet"
    assert span.attributes[names.GEN_AI_TOOL_CALL_ID] == "call_1_1"


SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2"


def everything(spans: list[Span], events: list[Any]) -> str:
    """All that left the processes, as text."""
    return "\n".join(repr(one) for one in (*spans, *events))


def test_secrets_in_a_record_are_redacted(crew: Crew, key: str) -> None:
    """A token that the model repeats in its record reaches neither the span nor the event."""
    decision = record(intent=f"log in with {SECRET}", why=f"password=hunter2-{key} was in the file")
    job = crew.ops.send("puppet", script=[[["note", text(key=key, _decision=decision)]]])
    assert crew.end(job) == Done(["line 1"])
    report = crew.report(job)
    (span,) = tools(report)
    assert span.attributes[names.DECISION_INTENT] == "log in with [redacted]"
    told = everything(list(report.forest.spans), list(crew.events(job, 1)))
    assert SECRET not in told
    assert "hunter2" not in told


def test_nothing_of_arguments_and_results_leaves(crew: Crew, key: str) -> None:
    """Prompts, arguments, results and error texts are on no span and in no event, wherever they passed."""
    canary = f"canary{key}"
    decision = record()
    job = crew.ops.send(
        "puppet",
        script=[
            [
                ["publish", text(text=canary, token=canary, notes={canary: canary}, _decision=decision)],
                ["note", text(key="kept", text=canary, _decision=decision)],
                ["explode", text(text=canary)],
                ["publish", text(text=[canary], token="t", _decision=decision)],
                ["publish", '{"text": "' + canary],
                ["publish", text(text="t", token="t", _decision={canary: canary})],
                [
                    "delegate_to_hand",
                    text(calls=[["explode", {"text": canary}]], catch=True, _reason="see it fail"),
                ],
            ]
        ],
    )
    outcome = crew.end(job)
    assert isinstance(outcome, Done)
    assert outcome.value[0] == {"text": canary, "token": canary}
    report = crew.report(job)
    assert dispositions(report) == [
        "executed",
        "executed",
        "executed",
        "invalid_arguments",
        "invalid_arguments",
        "no_decision_record",
        "executed",
    ]
    told = everything(list(report.forest.spans), list(crew.events(job, 2)))
    assert canary not in told
    published = tools(report, "publish")[0]
    assert published.text(names.TOOL_CREDENTIAL_ID).startswith("sha256:")
    assert len(published.text(names.TOOL_ARGS_DIGEST)) == 64
    assert canary not in crew.workers[0].log()


def test_tool_that_raises(crew: Crew) -> None:
    """A tool's failure is told as its type, the run goes on, and the span says so without the text."""
    outcome, report = crew.run("puppet", script=[[["explode", text(text="canary")]]])
    assert outcome == Done([{"error": {"type": "OSError", "detail": "the tool failed"}}])
    (span,) = tools(report)
    assert span.attributes[names.TOOL_DISPOSITION] == "executed"
    assert span.attributes[names.TOOL_RESULT_STATUS] == "error"
    assert (span.status_code, span.status_message, span.attributes[names.ERROR_TYPE]) == (
        "error",
        "OSError",
        "OSError",
    )
    (segment,) = segments(report, "puppet")
    assert segment.status_code == "unset"


def test_mistakes_in_code(crew: Crew, key: str) -> None:
    """Code that calls a tool wrongly gets an exception that says so; nothing ran."""
    outcome, report = crew.run(
        "hand",
        calls=[["note", {"key": key}], ["note", {"kay": key}], ["nothing", {}], ["look", {"key": key}]],
        catch=True,
    )
    assert isinstance(outcome, Done)
    *mistakes, looked = outcome.value
    assert [kind for kind, _ in mistakes] == ["NoDecisionRecord", "InvalidArguments", "UnknownTool"]
    assert looked == f"a look at {key}"
    assert crew.effects(key) == 1
    assert dispositions(report) == ["no_decision_record", "invalid_arguments", "unknown_tool", "executed"]


def test_gate_that_is_off(assembled: Callable[..., Crew], key: str) -> None:
    """With gate="off" a destructive call runs, and the log and its span say that nobody was asked."""
    crew = assembled(TEST_GATE="off")
    with running([crew.worker("puppet")]) as _:
        outcome, report = crew.run(
            "puppet",
            script=[
                [
                    ["wipe", text(key=key, _decision=record(risk="destructive"))],
                    ["note", text(key=f"{key}-1", _decision=record())],
                    ["wipe", text(key=key)],
                ]
            ],
        )
        assert isinstance(outcome, Done)
        assert outcome.value[:2] == ["gone", "line 1"]
        assert crew.effects(key) == 1
        assert dispositions(report) == ["executed", "executed", "no_decision_record"]
        assert [span.attributes.get(names.GATE) for span in tools(report)] == ["off", None, None]
        log = crew.workers[0].log()
        assert "THE GATE IS OFF: destructive call of tool wipe by agent puppet" in log
        assert 'THE GATE IS OFF (gate="off")' in log


def test_gate_that_fails(assembled: Callable[..., Crew], key: str) -> None:
    """A gate with a bug lets nothing through, not even what it would have let run."""
    crew = assembled(TEST_GATE="broken")
    with running([crew.worker("hand")]):
        outcome, report = crew.run("hand", calls=[["note", {"key": key}]], decision=record(), catch=True)
        assert isinstance(outcome, Refused)
        assert outcome.call.tool == "note"
        assert "RuntimeError" in outcome.reason
        assert crew.effects(key) == 0
        assert dispositions(report) == ["denied"]


def test_refused_child(assembled: Callable[..., Crew], key: str) -> None:
    """A child that was refused is final: its parent gets to know, and decides."""
    crew = assembled(TEST_GATE="broken")
    with running([crew.worker("puppet", "hand")]):
        outcome, _ = crew.run(
            "puppet",
            script=[
                [
                    [
                        "delegate_to_hand",
                        text(calls=[["look", {"key": key}]], _reason="somebody has to look"),
                    ]
                ]
            ],
        )
        assert outcome == Done([{"error": {"type": "Refused", "detail": "the agent did not finish"}}])
        assert crew.effects(key) == 0


def test_model_is_told_of_a_failed_delegate(crew: Crew) -> None:
    """A model that delegates badly is told what is wrong; a delegate that failed is told by type."""
    outcome, report = crew.run(
        "puppet",
        script=[
            [
                ["delegate_to_scout", text(host="db-7")],
                ["delegate_to_scout", text(hots="db-7", _reason="look")],
                ["delegate_to_hand", text(calls=[["nothing", {}]], _reason="try")],
                ["delegate_to_scout", text(host="db-7", _reason="look")],
            ]
        ],
    )
    assert isinstance(outcome, Done)
    no_reason, wrong, failed, found = outcome.value
    assert "_reason is missing" in no_reason["error"]["detail"]
    assert "hots: Extra inputs are not permitted" in wrong["error"]["detail"]
    assert failed["error"]["type"] == "UnknownTool"
    assert found == "a look at db-7"
    assert report.unified
