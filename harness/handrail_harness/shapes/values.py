"""The words that a fact of a step can have, as the conventions list them. Not imported before one is asked for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from handrail_harness.attributes import AGENT_ATTRIBUTES
from handrail_propagation import conventions as c

VALUES: Final[dict[str, tuple[str, ...]]] = {
    fact: AGENT_ATTRIBUTES[attribute].values
    for fact, attribute in (
        ("risk", c.DECISION_RISK),
        ("disposition", c.TOOL_DISPOSITION),
        ("result", c.TOOL_RESULT_STATUS),
        ("context_source", c.DECISION_CONTEXT_SOURCE),
        ("observed_source", c.DECISION_OBSERVED_SOURCE),
        ("source_verdict", c.DECISION_SOURCE_VERDICT),
    )
}
"""That a fact has another word is never so, so that its absence proves nothing."""


def refuse_other_words(facts: Mapping[str, object]) -> None:
    """Raise `ValueError` for a value that a fact cannot have."""
    for name, value in facts.items():
        words = VALUES.get(name, ())
        if words and value and value not in words:
            close = difflib.get_close_matches(str(value), words, n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(f"{name} is never {value!r}; {meant}it is one of {', '.join(words)}")
