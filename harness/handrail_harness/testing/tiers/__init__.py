"""What runs stand on during a test session: threads of this process, worker processes, containers, or what is up."""

from __future__ import annotations

from handrail_harness.testing.tiers.base import TIERS, Tier, TierName
from handrail_harness.testing.tiers.choice import choose

__all__ = ["TIERS", "Tier", "TierName", "choose"]
