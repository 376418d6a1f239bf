"""Waivers: they need a name, a reason and a use."""

from __future__ import annotations

import pytest

from handrail_harness.rules import check, waive
from handrail_harness.sources.memory import MemorySource
from handrail_harness.strategies.finding_faults import lost_traceparent
from handrail_harness.strategies.invariant_faults import named_otherwise

from .support.runs import cleanup_run


def test_a_waived_breach_is_excused_with_its_reason() -> None:
    """The breach is no problem any more, and the report still has it, beside the reason."""
    spans, _, span_id = named_otherwise(cleanup_run().spans, lambda choices: choices[0])
    waiver = waive("conventions", reason="the old dashboard wants this name", where="running *")
    report = check(MemorySource(spans), waivers=[waiver])
    assert report.sound
    ((breach, by),) = report.excused
    assert breach.span.span_id == span_id
    assert by.reason == "the old dashboard wants this name"


def test_where_narrows_it() -> None:
    """A waiver for one place does not excuse another."""
    spans, _, _ = named_otherwise(cleanup_run().spans, lambda choices: choices[0])
    waiver = waive("conventions", reason="no", where=lambda span: span.kind == "producer")
    report = check(MemorySource(spans), waivers=[waiver])
    assert [breach.invariant for breach in report.breaches] == ["conventions"]
    assert report.unused_waivers == (waiver,)


def test_an_unused_waiver_fails() -> None:
    """On a run that keeps every invariant, a waiver is the one problem: it outlived its reason."""
    report = check(MemorySource(cleanup_run().spans), waivers=[waive("no_orphans", reason="a known leak")])
    assert report.unified
    assert not report.sound
    assert report.problems() == ["unused waiver of no_orphans: a known leak"]


def test_a_waived_rule_no_longer_breaks_the_tree() -> None:
    """Waiving what a lost header breaks makes the verdict follow: it is the caller's word, with reasons."""
    spans, _, _ = lost_traceparent(cleanup_run().spans, lambda choices: choices[0])
    names = ("one_trace", "one_root", "handoff_received", "consumer_has_handoff")
    waivers = [waive(name, reason="this queue restarts traces") for name in names]  # type: ignore[arg-type]
    report = check(MemorySource(spans), f"{1:032x}", waivers)
    assert report.problems() == []
    assert len(report.excused) == 4


@pytest.mark.parametrize(
    ("name", "reason", "says"),
    [("no_orphan", "why", "no invariant is named 'no_orphan'"), ("no_orphans", " ", "needs a reason")],
)
def test_a_waiver_without_name_or_reason_is_refused(name: str, reason: str, says: str) -> None:
    """A misspelt name would never excuse anything, and a reason is what the next reader has."""
    with pytest.raises(ValueError, match=says):
        waive(name, reason=reason)  # type: ignore[arg-type]
