"""Breaks things on purpose: one verb a fault, named by where it bites; and a network and a destination that misbehave.

    from handrail_harness.faults import Faults, FaultProxy

`Faults` is the face of the verbs. What acts in producers and workers is `inside`; no agent and no worker loads any of
this unless a test asks it to. `FaultyGrpcDestination` is in `faults.grpc_destination`: gRPC is loaded by who wants it.
"""

from __future__ import annotations

from handrail_harness.faults.behaviour import Behaviour
from handrail_harness.faults.conditions import Conditions
from handrail_harness.faults.destination import FaultyDestination
from handrail_harness.faults.faults import Faults
from handrail_harness.faults.held import Held
from handrail_harness.faults.injected import Bite, Injected, Place
from handrail_harness.faults.proxy import FaultProxy
from handrail_harness.faults.queues import Message

__all__ = [
    "Behaviour",
    "Bite",
    "Conditions",
    "FaultProxy",
    "Faults",
    "FaultyDestination",
    "Held",
    "Injected",
    "Message",
    "Place",
]
