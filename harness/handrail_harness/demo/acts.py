"""Both acts on one stack: the gate off, then on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from handrail_agents.gate import GateMode
from handrail_harness.demo.act import Act, Say, play
from handrail_harness.stack.embedded import EmbeddedStack

_GATES: Final[tuple[GateMode, ...]] = ("off", "on")


def play_both(data_dir: Path, workspace: Path, *, model: str, timeout: float, say: Say) -> list[Act]:
    """Play act 1 (gate off) and act 2 (gate on); the traces stay in `data_dir`.

    Sets this process's environment to the stack's: it is the operator's, who sends the requests. Raises
    `StackError`, also when a run takes more than `timeout` seconds.
    """
    say("starting Redis and the receiver")
    acts: list[Act] = []
    with EmbeddedStack(data_dir) as stack:
        os.environ.update(stack.environ())
        source = stack.source()
        try:
            for number, gate in enumerate(_GATES, start=1):

                def say_which(text: str, number: int = number) -> None:
                    say(f"act {number} of {len(_GATES)}: {text}")

                folder = workspace / f"act-{number}-gate-{gate}"
                acts.append(
                    play(stack, source, folder, gate=gate, model=model, timeout=timeout, say=say_which)
                )
        finally:
            source.close()
    return acts
