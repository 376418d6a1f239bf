"""Is the broker that an app names there? Asked before workers or producers start waiting for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handrail_harness.errors import StackError

if TYPE_CHECKING:
    from celery import Celery

_SECONDS: Final = 3


def require_broker(app: Celery) -> None:
    """Connect to the app's broker once; raises `StackError`, in one line, when it does not answer."""
    connection = app.connection_for_write(connect_timeout=_SECONDS)
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=_SECONDS)
    except Exception as error:
        raise StackError(
            f"the broker {connection.as_uri()} does not answer ({type(error).__name__}); start it, or take the "
            'one that `handrail up` starts:  eval "$(handrail up --env)"'
        ) from error
    finally:
        connection.release()
