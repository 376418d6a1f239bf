"""Agents as queue workers, the decision contract, the gate."""

from __future__ import annotations

__all__: list[str] = []
