"""The three answers about a run: what did it do, why, and what did it touch; and where it went wrong."""

from __future__ import annotations

from handrail_harness.investigate.investigation import Culprit, Investigation, investigate, investigate_run

__all__ = ["Culprit", "Investigation", "investigate", "investigate_run"]
