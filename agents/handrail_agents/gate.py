"""The gate: which calls run at once, and which wait for a human. It fails closed.

It is asked by the tool broker, never by a Celery signal (signals swallow exceptions).
"""

from __future__ import annotations

import logging
from typing import Final, Literal, get_args

from handrail_agents.errors import ConfigurationError
from handrail_agents.outcomes import Call
from handrail_propagation.conventions import Risk

_log = logging.getLogger(__name__)

GateMode = Literal["on", "off"]
Verdict = Literal["run", "wait", "let_through"]
_ASK: Final[frozenset[Risk]] = frozenset({"destructive", "access_change"})


class Gate:
    """Lets calls run whose effective risk is below `access_change`; the rest waits for a human.

    With `mode="off"` nothing waits: for demonstrations of what that leads to. It says so in the log when made
    and at each call that it lets through.
    """

    def __init__(self, mode: GateMode = "on") -> None:
        if mode not in get_args(GateMode):
            raise ConfigurationError(f'gate={mode!r} is neither "on" nor "off"')
        self.mode = mode
        self.warn()

    def warn(self) -> None:
        """Say in the log that the gate is off, if it is."""
        if self.mode == "off":
            _log.warning(
                'THE GATE IS OFF (gate="off"): destructive and access-changing tool calls run without asking '
                "anybody. Never do this with systems that matter."
            )

    def decide(self, call: Call) -> Verdict:
        """Return `run`, `wait`, or `let_through` (it would wait, but the gate is off)."""
        if call.risk not in _ASK:
            return "run"
        if self.mode == "off":
            _log.warning(
                "THE GATE IS OFF: %s call of tool %s by agent %s runs without asking anybody (run %s)",
                call.risk,
                call.tool,
                call.agent,
                call.run_id,
            )
            return "let_through"
        return "wait"
