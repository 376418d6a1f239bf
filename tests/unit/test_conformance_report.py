"""The report of a conformance run: nothing passes for want of spans, and every form says the same."""

from __future__ import annotations

from xml.etree import ElementTree

from handrail_harness.conformance.outcome import Conformance, Outcome
from handrail_harness.conformance.reports import html, junit
from handrail_harness.conformance.scenarios import SCENARIOS
from handrail_harness.conformance.trees import CLIENT, judge
from handrail_harness.rules import RunSpans, examine_run
from handrail_harness.spans import Span

REPORT = Conformance(
    "tasks:app",
    (
        Outcome("w3c", "nothing", "Without headers a trace begins.", source="Trace Context 3.2"),
        Outcome("messages", "received", "One span a delivery.", ("alone: <b>\x00 & more",)),
        Outcome("conventions", "genai", "Names and kinds.", skipped="no genai span came"),
    ),
    1.25,
)


def test_an_app_that_traces_nothing_passes_no_row() -> None:
    """With the client's own send alone, every row fails and says that nothing arrived."""
    send = Span("1" * 32, "2" * 16, "", "send q", "producer", 1, 2, scope_name=CLIENT)
    report = examine_run(RunSpans("memory", send.trace_id, "", (send.trace_id,), (send,), ()))
    outcomes = judge({scenario.name: (scenario, report) for scenario in SCENARIOS})
    assert len(outcomes) == 23
    assert {outcome.state for outcome in outcomes} == {"failed"}
    assert {outcome.seen for outcome in outcomes} == {
        ("no span of the app arrived, so there is nothing to judge",)
    }


def test_a_run_passes_when_something_passed_and_nothing_failed() -> None:
    """What was not judged neither passes nor fails; a run of nothing else does not pass."""
    passed, failed, skipped = REPORT.outcomes
    assert [one.state for one in REPORT.outcomes] == ["passed", "failed", "skipped"]
    assert not REPORT.passed
    assert Conformance("tasks:app", (passed, skipped), 1.0).passed
    assert not Conformance("tasks:app", (skipped,), 1.0).passed
    assert not Conformance("tasks:app", (failed,), 1.0).passed


def test_junit_and_html_carry_what_was_seen_harmlessly() -> None:
    """A suite a group, failures with what was expected and seen, control characters and markup disarmed."""
    suites = ElementTree.fromstring(junit(REPORT)).findall("testsuite")
    assert [(one.get("name"), one.get("failures"), one.get("skipped")) for one in suites] == [
        ("w3c", "0", "0"),
        ("messages", "1", "0"),
        ("conventions", "0", "1"),
    ]
    failure = suites[1].find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "One span a delivery."
    assert "<b>" in str(failure.text)
    page = html(REPORT)
    assert "&lt;b&gt;" in page
    assert "\x00" not in page
    assert "1 passed, 1 failed, 1 not judged" in page
