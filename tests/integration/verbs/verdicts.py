"""What `check` and `investigate` say of each fault: the tests compare runs with this, and docs/faults.md, too."""

from __future__ import annotations

from dataclasses import dataclass

_TORN = ("one_trace", "one_root", "handoff_received", "consumer_has_handoff")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Findings as (name, span name without queue prefix, `X` for the agent that is hit), and broken invariants."""

    findings: tuple[tuple[str, str], ...] = ()
    breaks: tuple[str, ...] = ()


_BROKEN = Verdict((("broken_handoff", "send X"),), _TORN)
_NOT_RECEIVED = Verdict((("handoff_without_consumer", "send X"),), ("handoff_received",))
_AGAIN = Verdict(breaks=("handoff_once",))
_SPANS_LOST = Verdict(
    (("handoff_without_consumer", "send X"), ("consumer_without_handoff", "process first")),
    ("no_orphans", "handoff_received", "consumer_has_handoff"),
)
NOTHING = Verdict()

VERDICTS: dict[str, Verdict] = {
    "drop_header": _BROKEN,
    "garble_header": _BROKEN,
    "oversize_header": _BROKEN,
    "hold": _NOT_RECEIVED,
    "edit": Verdict(
        (("broken_handoff", "send X"),),
        ("one_trace", "no_orphans", "handoff_received", "consumer_has_handoff"),
    ),
    "duplicate": _AGAIN,
    "reorder": NOTHING,
    "lose": _NOT_RECEIVED,
    "release": NOTHING,
    "kill_child": Verdict((("abandoned", "process X"),)),
    "kill_worker": _NOT_RECEIVED,
    "lose_ack": _AGAIN,
    "recycle_children": NOTHING,
    "uninstrument": Verdict(
        (("handoff_without_consumer", "send X"), ("consumer_without_handoff", "process first")), _TORN
    ),
    "offset_clock": Verdict(breaks=("inside_parent",)),
    "refuse_exports": NOTHING,
    "delay_exports": NOTHING,
    "reject_spans": _SPANS_LOST,
    "repeat_exports": NOTHING,
    "swallow_exports": _SPANS_LOST,
    "restart_broker": NOTHING,
    "pause_broker": NOTHING,
    "pause_worker": _NOT_RECEIVED,
}
"""By the name of the verb."""
