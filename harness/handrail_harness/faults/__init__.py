"""Breaks things on purpose: a network between two parts that misbehaves on demand, a destination that does.

    from handrail_harness.faults import FaultProxy

Nothing in here knows about agents or traces; what a fault may do to them is in docs/durability.md.
"""

from __future__ import annotations

from handrail_harness.faults.behaviour import Behaviour
from handrail_harness.faults.conditions import Conditions
from handrail_harness.faults.destination import FaultyDestination
from handrail_harness.faults.proxy import FaultProxy

__all__ = ["Behaviour", "Conditions", "FaultProxy", "FaultyDestination"]
