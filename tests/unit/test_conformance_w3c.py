"""The table of W3C cases, and the judge that it is read with: what is wrong has to be seen."""

from __future__ import annotations

from typing import Any

import pytest

from handrail_harness.conformance import CASES, Probe
from handrail_harness.conformance.w3c import SPAN, TRACE

GOOD = f"00-{TRACE}-{SPAN}-01"
OWN = f"00-{TRACE}-00f067aa0ba902b7-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_table_has_41_cases() -> None:
    """Each case has a name of its own, the section that asks for it, a sentence and something to send."""
    assert len(CASES) == len({case.name for case in CASES}) == 41
    for case in CASES:
        assert case.section.startswith("3.")
        assert case.holds.endswith(".")
        assert case.probes


@pytest.mark.parametrize(
    ("probe", "sent"),
    [
        (Probe((("traceparent", GOOD),), "continued", TRACE), [{"traceparent": OWN}]),
        (Probe((("traceparent", GOOD),), "new", TRACE), [{"traceparent": OTHER}]),
        (
            Probe((("traceparent", GOOD),), "continued", TRACE, state=(("a", "1"), ("b", "2"))),
            [{"traceparent": OWN, "tracestate": "a=1, b=2"}],
        ),
        (Probe((), "new", random=True), [{"traceparent": f"{OTHER[:-2]}02"}]),
    ],
)
def test_what_holds_is_no_breach(probe: Probe, sent: list[dict[str, Any]]) -> None:
    """Messages as the recommendation wants them pass."""
    assert probe.breaches(sent) == []


@pytest.mark.parametrize(
    ("probe", "sent", "said"),
    [
        (Probe((), "new"), [], "0 messages"),
        (Probe((), "new"), [{}], "not valid"),
        (Probe((), "new"), [{"traceparent": OWN.upper()}], "not valid"),
        (Probe((), "new"), [{"traceparent": f"00-{'0' * 32}-{SPAN}-01"}], "not valid"),
        (Probe((("traceparent", GOOD),), "continued", TRACE), [{"traceparent": OTHER}], "does not continue"),
        (Probe((("traceparent", GOOD),), "continued", TRACE), [{"traceparent": GOOD}], "came in"),
        (Probe((("traceparent", f"{GOOD}."),), "new"), [{"traceparent": OWN}], "does not count"),
        (
            Probe((("traceparent", f"00-{TRACE}3-{SPAN}-01"),), "new"),
            [{"traceparent": OWN}],
            "does not count",
        ),
        (Probe((), "new", state=()), [{"traceparent": OWN, "tracestate": "a=1"}], "tracestate"),
        (
            Probe((), "new", state=(("a", "1"), ("b", "2"))),
            [{"traceparent": OWN, "tracestate": "b=2,a=1"}],
            "tracestate",
        ),
        (Probe((), "new", random=True), [{"traceparent": OWN}], "random flag is not set"),
        (Probe((), "new", sends=2), [{"traceparent": OWN}, {"traceparent": OWN}], "same parent-id"),
    ],
)
def test_a_breach_is_said(probe: Probe, sent: list[dict[str, Any]], said: str) -> None:
    """Whatever breaks a probe's expectation is told, so that a queue which carries nothing cannot pass."""
    assert [breach for breach in probe.breaches(sent) if said in breach]


def test_a_repeated_name_is_a_list() -> None:
    """A mapping holds a repeated header as the list of its values, another spelling as a header of its own."""
    probe = Probe((("tracestate", "a=1"), ("tracestate", "b=2"), ("Traceparent", GOOD)), "new")
    assert probe.carried() == {"tracestate": ["a=1", "b=2"], "Traceparent": GOOD}
