"""Everything around a run: stack, receiver, store, sources, forest, rules, investigation, plugin, command line.

Public here are the words for the shapes of runs; everything else is imported from the module that has it.
"""

from __future__ import annotations

from handrail_harness.shapes import Shape, agent, handoff, task, tool

__all__ = ["Shape", "agent", "handoff", "task", "tool"]
