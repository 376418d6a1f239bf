"""Which tier a session gets: the one that was asked for, else the most real one that is available."""

from __future__ import annotations

import os

from handrail_harness.errors import StackError
from handrail_harness.stack.redis import URL_VARIABLE, redis_here
from handrail_harness.testing.shared import Shared
from handrail_harness.testing.tiers.base import TIERS, Tier


def choose(asked: str, *, source: str, session: str, shared: Shared | None) -> Tier:
    """Return the tier, not started yet; raises `StackError` for a name that is none.

    Without a name: `process` where a Redis can be started or HANDRAIL_REDIS_URL names one, else `thread`.
    """
    name = asked or ("process" if os.environ.get(URL_VARIABLE) or redis_here() else "thread")
    if name == "thread":
        from handrail_harness.testing.tiers.thread import ThreadTier

        return ThreadTier(session, shared)
    if name == "process":
        from handrail_harness.testing.tiers.process import ProcessTier

        return ProcessTier(session, shared)
    if name == "containers":
        from handrail_harness.testing.tiers.containers import ContainersTier

        return ContainersTier(session, shared)
    if name == "external":
        from handrail_harness.testing.tiers.external import ExternalTier

        return ExternalTier(source)
    raise StackError(f"there is no tier {name!r}; there are {', '.join(TIERS)}")
