"""Agents as queue workers, the decision contract, the gate."""

from __future__ import annotations

from handrail_agents.agent import Agent, Delegation
from handrail_agents.contract import DECISION_LOGGING_CONTRACT, DecisionRecord
from handrail_agents.errors import (
    BrokerError,
    InvalidArguments,
    JournalError,
    NoDecisionRecord,
    NotReplayable,
    ToolFailed,
    TurnLimit,
    UnknownAgent,
    UnknownTool,
)
from handrail_agents.job import Job
from handrail_agents.models.anthropic import Anthropic
from handrail_agents.models.base import ModelError
from handrail_agents.models.openai import OpenAI
from handrail_agents.models.scripted import Scripted
from handrail_agents.outcomes import Approval, Call, Done, Failed, InDoubt, Outcome, Refused, Waiting
from handrail_agents.registry import Agents
from handrail_agents.run import Run
from handrail_agents.tools import Tool

__all__ = [
    "DECISION_LOGGING_CONTRACT",
    "Agent",
    "Agents",
    "Anthropic",
    "Approval",
    "BrokerError",
    "Call",
    "DecisionRecord",
    "Delegation",
    "Done",
    "Failed",
    "InDoubt",
    "InvalidArguments",
    "Job",
    "JournalError",
    "ModelError",
    "NoDecisionRecord",
    "NotReplayable",
    "OpenAI",
    "Outcome",
    "Refused",
    "Run",
    "Scripted",
    "Tool",
    "ToolFailed",
    "TurnLimit",
    "UnknownAgent",
    "UnknownTool",
    "Waiting",
]
