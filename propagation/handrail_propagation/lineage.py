"""Who belongs to which run: `agent.run.id` in baggage, and on every span that starts within it.

The run id is independent of the trace id, so that a branch that lost its context can still be found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import baggage, context
from opentelemetry.context import Context

from handrail_propagation.conventions import BAGGAGE_RUN_ID

RUN_ID_MAX_CHARS = 128
_BAGGAGE = next(iter(baggage.set_baggage("any", "", Context())))


@contextmanager
def run_context(run_id: str) -> Iterator[None]:
    """Put `agent.run.id` into the current baggage; every span started inside carries it as an attribute.

    Raises `ValueError` for an empty id or one of more than 128 characters.
    """
    if not run_id or len(run_id) > RUN_ID_MAX_CHARS:
        raise ValueError(f"a run id has 1 to {RUN_ID_MAX_CHARS} characters, this one {len(run_id)}")
    token = context.attach(baggage.set_baggage(BAGGAGE_RUN_ID, run_id))
    try:
        yield
    finally:
        context.detach(token)


def current_run_id() -> str | None:
    """Return the run id of the current context's baggage, or `None` outside of a run."""
    return run_id_of(None)


def run_id_of(where: Context | None) -> str | None:
    """Return the run id of a context's baggage (`None`: the current one); a longer text than 128 is none."""
    entries = (context.get_current() if where is None else where).get(_BAGGAGE)
    value = entries.get(BAGGAGE_RUN_ID) if isinstance(entries, dict) else None
    return value if isinstance(value, str) and 0 < len(value) <= RUN_ID_MAX_CHARS else None
