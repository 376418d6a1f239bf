"""What a finding is: its name, how grave it is, where it sits and what shows it. One page a name in
docs/findings/.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from handrail_harness.spans import Span

Severity = Literal["critical", "high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low")
"""Gravest first."""

FindingName = Literal[
    "unapproved_effect",
    "undeclared_effect",
    "source_not_operator",
    "invalid_arguments",
    "abandoned",
    "broken_handoff",
    "handoff_without_consumer",
    "consumer_without_handoff",
    "lineage_disagreement",
    "extra_trace",
    "extra_root",
    "orphan",
    "duplicate_span",
    "cycle",
]

TITLES: dict[FindingName, str] = {
    "unapproved_effect": "destructive effect without approval",
    "undeclared_effect": "effect that no tool declared",
    "source_not_operator": "acted on something the operator did not say",
    "invalid_arguments": "arguments that do not fit the tool",
    "abandoned": "the process died in it",
    "broken_handoff": "hand-off lost its trace context",
    "handoff_without_consumer": "hand-off never received",
    "consumer_without_handoff": "message received that nobody sent",
    "lineage_disagreement": "the tree and the queue's own lineage disagree",
    "extra_trace": "the run is spread over several traces",
    "extra_root": "more than one root",
    "orphan": "parent missing",
    "duplicate_span": "span id occurs more than once",
    "cycle": "spans that are each other's ancestors",
}
"""What each finding says in a few words; the page docs/findings/NAME.md explains it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, at one span, with the spans that show it."""

    span: Span
    name: FindingName
    severity: Severity
    detail: str
    evidence: tuple[Span, ...] = ()

    def document(self) -> dict[str, object]:
        """Return the JSON form: `span_id`, `finding`, `severity`, `detail`, `evidence_span_ids`."""
        return {
            "span_id": self.span.span_id,
            "finding": self.name,
            "severity": self.severity,
            "detail": self.detail,
            "evidence_span_ids": list(dict.fromkeys(span.span_id for span in self.evidence)),
        }


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort by severity, then by when the span started."""
    return sorted(
        findings,
        key=lambda finding: (
            SEVERITIES.index(finding.severity),
            finding.span.start_unix_nano,
            finding.span.trace_id,
            finding.span.span_id,
            finding.name,
        ),
    )
