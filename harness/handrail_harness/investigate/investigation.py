"""From a run's spans to an `Investigation`: the tree, the three answers, the findings, and the culprit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handrail_harness.effects import Effect, RunView, effects_of
from handrail_harness.findings.base import SEVERITIES, Finding, gravest_first
from handrail_harness.findings.detect import detect
from handrail_harness.investigate.touched import Touched, touched_by
from handrail_harness.investigate.why import Why, why_of
from handrail_harness.rules import Report, RunSpans, examine_run, read_run
from handrail_harness.sources.base import Source
from handrail_harness.spans import Span


@dataclass(frozen=True, slots=True)
class Culprit:
    """The span where the run went wrong, the gravest finding there, and the way to it from the root."""

    span: Span
    finding: Finding
    path: tuple[Span, ...]

    def document(self) -> dict[str, object]:
        """Return the JSON form: `span_id`, `finding`, `path_span_ids`."""
        return {
            "span_id": self.span.span_id,
            "finding": self.finding.name,
            "path_span_ids": [span.span_id for span in self.path],
        }


@dataclass(frozen=True, slots=True)
class Investigation:
    """The answers about one run."""

    report: Report
    view: RunView
    effects: tuple[Effect, ...]
    why: tuple[Why, ...]
    touched: tuple[Touched, ...]
    findings: tuple[Finding, ...]
    culprit: Culprit | None

    def document(self) -> dict[str, Any]:
        """Return everything as one JSON document."""
        return {
            "trace_id": self.report.trace_id,
            "run_id": self.report.run_id or None,
            "tree": self.report.tree(),
            "what": [effect.document() for effect in self.effects],
            "why": [why.document() for why in self.why],
            "touched": [touched.document() for touched in self.touched],
            "findings": [finding.document() for finding in self.findings],
            "culprit": self.culprit.document() if self.culprit is not None else None,
        }


def investigate(source: Source, trace_id: str | None = None) -> Investigation:
    """Investigate the run that a trace belongs to (the latest trace for `None`), all of its traces.

    Raises `TraceNotFound` when there is none, `SourceError` when the source cannot be read.
    """
    return investigate_run(read_run(source, trace_id))


def investigate_run(run: RunSpans) -> Investigation:
    """Investigate spans that have been read already."""
    report = examine_run(run)
    view = RunView(report, run.events)
    effects = tuple(effects_of(view))
    findings = tuple(gravest_first((*report.findings, *detect(view, effects))))
    return Investigation(
        report=report,
        view=view,
        effects=effects,
        why=tuple(why_of(view, effect) for effect in effects),
        touched=tuple(touched_by(view)),
        findings=findings,
        culprit=_culprit(view, effects, findings),
    )


def _culprit(view: RunView, effects: tuple[Effect, ...], findings: tuple[Finding, ...]) -> Culprit | None:
    """Pick the earliest effect with the gravest finding on an effect; without one, the earliest of the
    gravest.
    """
    on_effects = {id(effect.span) for effect in effects}
    candidates = [finding for finding in findings if id(finding.span) in on_effects] or list(findings)
    if not candidates:
        return None
    worst = min(candidates, key=lambda finding: SEVERITIES.index(finding.severity)).severity
    first = min(
        (finding for finding in candidates if finding.severity == worst),
        key=lambda finding: (finding.span.start_unix_nano, finding.span.span_id),
    )
    return Culprit(first.span, first, tuple(view.path(first.span)))
