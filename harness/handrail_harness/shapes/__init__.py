"""What a run should look like, in words: `agent(...)`, `handoff(...)`, `task(...)`, `tool(...)`; and what it did.

Pure: spans in, steps, selections, mismatches and text out. Importing the words costs nothing.
"""

from __future__ import annotations

from handrail_harness.shapes.words import Shape, agent, handoff, task, tool

__all__ = ["Shape", "agent", "handoff", "task", "tool"]
