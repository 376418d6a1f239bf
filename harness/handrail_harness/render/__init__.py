"""How a run looks on a terminal: the headline, the tree with the branch that went wrong, the three
answers.

Everything out of a trace passes `printable` and is never read as markup; output is bounded unless asked
for in full.
"""

from __future__ import annotations

from handrail_harness.render.investigation import render_investigation
from handrail_harness.render.report import render_report
from handrail_harness.render.tree import render_tree

__all__ = ["render_investigation", "render_report", "render_tree"]
