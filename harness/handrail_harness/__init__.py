"""Everything around a run: stack, receiver, store, sources, forest, rules, investigation, plugin, command line."""

from __future__ import annotations

__all__: list[str] = []
