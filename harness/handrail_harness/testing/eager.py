"""Eager mode proves nothing: a task that never crosses a queue is in one trace even if nothing carries its context."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from handrail_harness.errors import EagerModeRefused

if TYPE_CHECKING:
    from celery import Celery


def refuse_eager(*apps: Celery) -> None:
    """Raise `EagerModeRefused` when one of `apps` (default: any app of this process) runs its tasks in place."""
    __tracebackhide__ = True
    if not apps and "celery" in sys.modules:
        from celery import _state

        active = _state._get_active_apps()  # type: ignore[attr-defined]
        # Only what has been used: asking an untouched app would load its configuration.
        apps = tuple(app for app in active if app.configured)
    for app in apps:
        if app.conf.task_always_eager:
            raise EagerModeRefused(
                f"task_always_eager is on in the Celery app {app.main!r}: its tasks never cross a queue, "
                "so a test of them proves nothing; switch it off"
            )
