"""What can be wrong with a run: `Finding` values, and `detect`, which finds those that sit on what agents
did.

Findings about the tree itself come from `handrail_harness.rules`.
"""

from __future__ import annotations

from handrail_harness.findings.base import SEVERITIES, TITLES, Finding, FindingName, Severity, gravest_first

__all__ = ["SEVERITIES", "TITLES", "Finding", "FindingName", "Severity", "gravest_first"]
