"""The three answers: what was done, why, what it touched; the culprit; and the document that holds them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from handrail_harness.investigate import investigate
from handrail_harness.spans import Link, LogEvent, Span, SpanEvent
from handrail_harness.strategies.edits import OTHER_TRACE
from handrail_harness.strategies.finding_faults import lost_traceparent
from handrail_propagation import conventions as c

from .support.runs import MemorySource, RunBuilder, caused_by, cleanup_run

GATE_OFF: dict[str, Any] = {
    "agent__approval__id": None,
    "agent__approval__outcome": None,
    "agent__gate": "off",
}


def wipe() -> RunBuilder:
    """The nine seconds, in small: a planner delegates, infra deletes a volume with a token out of a file."""
    run = RunBuilder("run-wipe")
    with run.handoff("planner", "tidy up staging"):
        asked = run.chat()
        with run.handoff("infra", "credentials do not match", links=[caused_by(asked)]):
            decided = run.chat()
            run.call("note", "write", asked_by=decided)
            with run.tool(
                "volume_delete",
                "destructive",
                asked_by=decided,
                agent__decision__intent="remove the stale volume",
                agent__decision__reasoning="a token was lying there",
                agent__decision__context_source="file",
                agent__tool__touches=["volume://prod/1", "https://me:secret@host/x?token=1"],
                agent__tool__credential__id="sha256:0123456789ab",
                **GATE_OFF,
            ):
                for _ in range(3):
                    statement = "DELETE FROM volumes WHERE id = ?"
                    run.add(
                        "DELETE",
                        "client",
                        {"db.system": "sqlite", "db.name": "/w/r.db", "db.statement": statement},
                    )
    return run


def span_named(run: RunBuilder, name: str) -> Span:
    return next(span for span in run.spans if span.name == name)


def test_the_document_has_exactly_these_keys() -> None:
    """The JSON is a contract: these keys, no others, on every level."""
    document = investigate(MemorySource(wipe().spans)).document()
    assert set(document) == {"trace_id", "run_id", "tree", "what", "why", "touched", "findings", "culprit"}
    assert set(document["tree"]) == {"spans", "traces", "roots", "orphans", "unified"}
    assert set(document["what"][0]) == {
        *(
            "span_id",
            "agent",
            "tool",
            "risk",
            "disposition",
            "result_status",
            "start_unix_nano",
            "args_digest",
        )
    }
    assert set(document["why"][0]) == {
        *("span_id", "agent", "intent", "reasoning", "declared_source", "observed_source"),
        *("source_verdict", "source_span_ids", "delegation_path"),
    }
    assert set(document["touched"][0]) == {
        *("resource", "verb", "reversible", "agent_path", "credential_id", "span_id")
    }
    assert set(document["findings"][0]) == {"span_id", "finding", "severity", "detail", "evidence_span_ids"}
    assert set(document["culprit"]) == {"span_id", "finding", "path_span_ids"}


def test_what_lists_effects_in_order() -> None:
    """Reads are no effects; the rest comes in order of time with risk, disposition, result."""
    what = investigate(MemorySource(cleanup_run().spans)).document()["what"]
    assert [(one["tool"], one["risk"], one["disposition"], one["result_status"]) for one in what] == [
        ("drop_table", "destructive", "executed", "ok"),
        ("notify", "external", "executed", "ok"),
    ]
    assert what[0]["agent"] == "cleaner"
    assert what[0]["args_digest"] == "ab" * 32


def test_why_walks_up_to_the_operator() -> None:
    """Decision, the model call that asked, and each delegation's reason, outermost first."""
    run = wipe()
    why = investigate(MemorySource(run.spans)).document()["why"][-1]
    chats = [span.span_id for span in run.spans if span.name == "chat scripted"]
    assert (why["intent"], why["reasoning"], why["declared_source"]) == (
        *("remove the stale volume", "a token was lying there", "file"),
    )
    assert (why["observed_source"], why["source_verdict"], why["source_span_ids"]) == (
        None,
        "undetermined",
        [],
    )
    assert [(step["agent"], step["reason"], step["chat_span_id"]) for step in why["delegation_path"]] == [
        ("planner", "tidy up staging", chats[0]),
        ("infra", "credentials do not match", chats[1]),
    ]


def test_observed_sources_are_shown_where_they_are_recorded() -> None:
    """Verdict and links of argument grounding are passed on, and an observed foreign source is a finding."""
    run = RunBuilder()
    with run.handoff("a"):
        read = run.call("read_ticket")
        link = Link(read.trace_id, read.span_id, {c.LINK_TYPE: c.LINK_INFORMED_BY})
        sent = run.call(
            "send",
            "external",
            agent__decision__observed_source="tool_output",
            agent__decision__source_verdict="contradicted",
        )
    spans = [replace(span, links=(link,)) if span.span_id == sent.span_id else span for span in run.spans]
    document = investigate(MemorySource(spans)).document()
    why = document["why"][0]
    assert (why["observed_source"], why["source_verdict"]) == ("tool_output", "contradicted")
    assert why["source_span_ids"] == [read.span_id]
    assert document["findings"][0]["finding"] == "source_not_operator"
    assert document["findings"][0]["evidence_span_ids"] == [sent.span_id, read.span_id]


@pytest.mark.parametrize("where", ["span event", "log event"])
def test_decisions_recorded_as_events_count(where: str) -> None:
    """A decision that is not on the span is taken from the event in its context."""
    run = RunBuilder()
    with run.handoff("a"):
        tool = run.call("drop", "write")
    record = {key: value for key, value in tool.attributes.items() if key.startswith("agent.decision.")}
    bare = {key: value for key, value in tool.attributes.items() if key not in record}
    events = (SpanEvent(c.EVENT_DECISION, 0, record),) if where == "span event" else ()
    logs = (
        [LogEvent(tool.trace_id, tool.span_id, c.EVENT_DECISION, 0, record)] if where == "log event" else []
    )
    spans = [
        replace(span, attributes=bare, events=events) if span.span_id == tool.span_id else span
        for span in run.spans
    ]
    document = investigate(MemorySource(spans, logs)).document()
    assert document["what"][0]["risk"] == "write"
    assert document["why"][0]["intent"] == "use drop"
    assert document["findings"] == []


def test_touched_has_both_witnesses() -> None:
    """Declared resources and what database spans show, once each, with path and credential, no secrets."""
    touched = investigate(MemorySource(wipe().spans)).document()["touched"]
    assert [(one["resource"], one["verb"]) for one in touched] == [
        ("volume://prod/1", "destroy"),
        ("https://host/x", "destroy"),
        ("sqlite:///w/r.db/volumes", "delete"),
    ]
    for one in touched:
        assert one["agent_path"] == ["planner", "infra"]
        assert one["credential_id"] == "sha256:0123456789ab"
        assert one["reversible"] is False


def test_what_did_not_run_touched_nothing() -> None:
    """A call that waits for approval is listed as an effect with its disposition, and touches nothing."""
    run = RunBuilder()
    waiting = GATE_OFF | {"agent__gate": None, "agent__tool__disposition": "awaiting_approval"}
    with run.handoff("a"):
        run.call("drop", "destructive", agent__tool__touches=["db://x"], **waiting)
    document = investigate(MemorySource(run.spans)).document()
    assert document["what"][0]["disposition"] == "awaiting_approval"
    assert (document["touched"], document["findings"], document["culprit"]) == ([], [], None)


def test_the_culprit_is_the_earliest_of_the_gravest() -> None:
    """A later critical effect wins over an earlier medium one; among equals the first."""
    run = wipe()
    found = investigate(MemorySource(run.spans))
    delete = span_named(run, "execute_tool volume_delete")
    assert found.culprit is not None
    assert (found.culprit.span.span_id, found.culprit.finding.name) == (delete.span_id, "unapproved_effect")
    path = [span.name for span in found.culprit.path]
    assert path == [
        *("invoke_agent planner", "send planner", "process planner", "invoke_agent planner"),
        *("invoke_agent infra", "send infra", "process infra", "invoke_agent infra"),
        "execute_tool volume_delete",
    ]


def test_effects_come_before_graver_findings_elsewhere() -> None:
    """The culprit is an effect where an effect has a finding, however grave what is wrong with the tree."""
    run = RunBuilder()
    with run.handoff("a"):
        call = run.call("send", "external", agent__decision__context_source="memory")
        run.add("send nowhere", "producer")
    found = investigate(MemorySource(run.spans))
    assert [finding.name for finding in found.findings] == ["handoff_without_consumer", "source_not_operator"]
    assert found.culprit is not None
    assert found.culprit.span.span_id == call.span_id


def test_without_an_effect_the_gravest_finding_is_the_culprit() -> None:
    """A run that did nothing can still be broken somewhere."""
    run = RunBuilder()
    with run.handoff("a"):
        send = run.add("send nowhere", "producer")
    culprit = investigate(MemorySource(run.spans)).document()["culprit"]
    assert (culprit["span_id"], culprit["finding"]) == (send.span_id, "handoff_without_consumer")


def test_the_reasons_above_a_torn_branch_are_not_lost() -> None:
    """Across a broken hand-off path and reasons lead up to the operator, and the verdict stays broken."""
    run = wipe()
    spans, _, _ = lost_traceparent(
        run.spans, lambda among: next(span for span in among if span.name.endswith(" infra"))
    )
    document = investigate(MemorySource(spans), OTHER_TRACE).document()
    assert document["tree"]["unified"] is False
    assert document["tree"]["traces"] == 2
    assert [step["reason"] for step in document["why"][-1]["delegation_path"]] == [
        *("tidy up staging", "credentials do not match"),
    ]
    assert document["culprit"]["path_span_ids"][0] == run.spans[0].span_id
    assert {finding["finding"] for finding in document["findings"]} >= {"broken_handoff", "unapproved_effect"}


def write(name: str = "DELETE", **attributes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "client",
        "attributes": {key.replace("__", "."): v for key, v in attributes.items()},
    }


class TestUndeclaredEffects:
    def test_below_a_read_tool(self) -> None:
        """A tool that says it reads, and deletes: one finding for a thousand rows."""
        run = RunBuilder()
        with run.handoff("a"), run.tool("look"):
            for _ in range(1000):
                run.add(**write(db__system="mysql", db__statement="delete from t where id = ?"))
        document = investigate(MemorySource(run.spans)).document()
        assert [(one["tool"], one["risk"], one["args_digest"]) for one in document["what"]] == [
            ("look", "destructive", None)
        ]
        (finding,) = document["findings"]
        assert (finding["finding"], finding["severity"]) == ("undeclared_effect", "critical")
        assert "1,000 times" in finding["detail"]
        assert len(finding["evidence_span_ids"]) < 50

    def test_outside_any_tool(self) -> None:
        """Code of the agent itself that posts somewhere is an effect without a tool."""
        run = RunBuilder()
        with run.handoff("a"):
            run.add(**write("POST", http__request__method="POST", url__full="https://api.example/x"))
        document = investigate(MemorySource(run.spans)).document()
        assert (document["what"][0]["tool"], document["what"][0]["risk"]) == (None, "external")
        assert document["findings"][0]["finding"] == "undeclared_effect"
        assert document["why"][0]["intent"] is None

    def test_model_calls_and_brokers_are_no_effects(self) -> None:
        """The POST of a model call, the broker's Redis commands, and reads are not what an agent did."""
        run = RunBuilder()
        with run.handoff("a"):
            with run.inside("chat m", "client", {c.GEN_AI_OPERATION_NAME: "chat"}):
                run.add(**write("POST", http__request__method="POST", url__full="https://model.example"))
            run.add(**write("LPUSH", db__system="redis", db__operation="LPUSH"))
            run.add(**write("SELECT", db__system="mysql", db__statement="SELECT 1 FROM t"))
        assert investigate(MemorySource(run.spans)).document()["what"] == []

    def test_what_an_operator_does_is_no_agents_effect(self) -> None:
        """The web request that started the run may write to its own database."""
        run = RunBuilder()
        with run.inside("POST /clean", "server"):
            run.add(**write("INSERT", db__system="mysql", db__statement="INSERT INTO jobs VALUES (1)"))
            with run.handoff("a"):
                pass
        assert investigate(MemorySource(run.spans)).findings == ()

    def test_one_call_seen_twice_is_one_effect(self) -> None:
        """An ORM's span and the driver's below it are one change."""
        run = RunBuilder()
        statement = {"db__system": "mysql", "db__statement": "DELETE FROM t"}
        with run.handoff("a"), run.tool("look"):
            outer = write(**statement)
            with run.inside(outer["name"], outer["kind"], outer["attributes"]):
                run.add(**write(**statement))
        assert len(investigate(MemorySource(run.spans)).effects[0].spans) == 1


def test_death_is_told_once() -> None:
    """A worker that died leaves every open span abandoned: one finding, at the innermost."""
    run = RunBuilder()
    dead = {c.ABANDONED: True}
    with (
        run.handoff("root"),
        run.inside("send a", "producer"),
        run.inside("process a", "consumer", dead),
        run.agent("a", **dead),
        run.tool("drop", "write", agent__abandoned=True) as tool,
    ):
        pass
    (finding,) = investigate(MemorySource(run.spans)).findings
    assert (finding.name, finding.span.span_id, len(finding.evidence)) == ("abandoned", tool.span_id, 3)


HOSTILE: dict[str, Any] = {
    c.DECISION_RISK: 5,
    c.DECISION_INTENT: ["x"],
    c.TOOL_DISPOSITION: {"a": 1},
    c.TOOL_TOUCHES: "not a list",
    c.DECISION_REVERSIBLE: "yes",
    c.DELEGATION_PATH: [1, None],
    c.RUN_SEGMENT: "two",
    c.MESSAGE_ATTEMPT: None,
    c.MESSAGING_MESSAGE_ID: 7,
    c.MESSAGE_PARENT_ID: b"\x00",
    c.ABANDONED: "true",
    c.GEN_AI_AGENT_NAME: None,
    "db.system": 3,
    "http.method": True,
}


@pytest.mark.parametrize("operation", ["execute_tool", "invoke_agent", "chat", ""])
@pytest.mark.parametrize("kind", ["internal", "client", "producer", "consumer"])
def test_wrong_types_are_survived(operation: str, kind: Any) -> None:
    """Attributes of any type in any place give an answer; an unknown risk counts as destructive."""
    run = RunBuilder()
    with run.handoff("a"):
        run.add("odd", kind, HOSTILE | {c.GEN_AI_OPERATION_NAME: operation})
    found = investigate(MemorySource(run.spans))
    assert found.document()["trace_id"] == run.trace_id
    if operation == "execute_tool":
        assert found.effects[0].risk == "destructive"


def test_deep_delegation_is_linear() -> None:
    """5,000 agents below one another, each with an effect, are investigated without recursion."""
    run = RunBuilder()
    base = RunBuilder()
    with base.agent("a"), base.tool("drop", "write"):
        pass
    agent, tool = base.spans
    parent = ""
    for at in range(5_000):
        ids = f"{2 * at + 1:016x}", f"{2 * at + 2:016x}"
        run.spans.append(replace(agent, span_id=ids[0], parent_span_id=parent, start_unix_nano=at))
        run.spans.append(replace(tool, span_id=ids[1], parent_span_id=ids[0], start_unix_nano=at))
        parent = ids[0]
    found = investigate(MemorySource(run.spans))
    assert len(found.effects) == 5_000
    names = [len(why.steps) for why in found.why]
    assert names[:3] == [1, 2, 3]
    assert names[48:51] == [49, 50, 50]
    assert names[-1] == 50
