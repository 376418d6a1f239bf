"""An outcome in one sentence."""

from __future__ import annotations

from rich.text import Text

from handrail_agents.outcomes import Done, Failed, InDoubt, Outcome, Refused, Waiting
from handrail_harness.render.style import Signs, shown

_VALUE = 300


def outcome_line(outcome: Outcome, agent: str, signs: Signs) -> Text:
    """Return what became of a run of `agent`; values come from a model and are shown as such."""
    match outcome:
        case Done(value):
            return Text(f'{signs.good} {agent}: "{shown(value, _VALUE, signs)}"', style="italic")
        case Waiting(approval):
            call = approval.call
            return Text(
                f"{signs.waiting} {call.agent} waits for a human: {_what(call.tool, call.touches, signs)} "
                f"({call.risk}); no worker is held meanwhile",
                style="yellow",
            )
        case InDoubt(call):
            return Text(
                f"{signs.wrong} in doubt: a worker died in {_what(call.tool, call.touches, signs)}, which may or may "
                "not have had its effect",
                style="magenta",
            )
        case Refused(call, reason):
            what = _what(call.tool, call.touches, signs)
            return Text(f"{signs.wrong} refused: {what}: {shown(reason, _VALUE, signs)}", style="red")
        case Failed(error_type, message):
            return Text(
                f"{signs.wrong} {agent} failed with {shown(error_type, 80, signs)}: {shown(message, _VALUE, signs)}",
                style="red",
            )


def _what(tool: str, touches: tuple[str, ...], signs: Signs) -> str:
    return shown(tool, 60, signs) + (f" on {shown(', '.join(touches), 200, signs)}" if touches else "")
