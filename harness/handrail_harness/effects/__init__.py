"""What agents did, read off the spans: which agent a span works for, which tool governs it, what it
changed.
"""

from __future__ import annotations

from handrail_harness.effects.effect import Effect, effects_of
from handrail_harness.effects.view import AgentRun, Place, RunView

__all__ = ["AgentRun", "Effect", "Place", "RunView", "effects_of"]
