"""A worker in threads of this process: Celery's own test worker on a real queue, never eager mode."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager
from typing import Any

from handrail_harness.testing.applications import Application

_CONCURRENCY = 4
_CELERY_VARIABLES = ("CELERY_LOG_LEVEL", "CELERY_LOG_FILE")
_SHUTDOWN = 10.0  # seconds that running tasks may take to end


class ThreadWorker:
    """One worker for one application; `start` may be called again, it starts once."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._context: AbstractContextManager[Any] | None = None
        self._before: tuple[Any, Any] = (None, None)
        self.queues: list[str] = []

    def start(self) -> None:
        """Start consuming every queue of the application; logging stays as it was.

        The application is Celery's default one until `stop`: pool threads look their tasks up in that.
        """
        if self._context is not None:
            return
        from celery import _state, signals
        from celery.contrib.testing.worker import start_worker

        self.queues = self._application.queues()
        internals: Any = _state
        self._before = internals._tls.current_app, internals.default_app
        # With a receiver of this signal Celery leaves logging to others: here, to pytest.
        signals.setup_logging.connect(_leave_logging, weak=False)
        environment = {name: os.environ.get(name) for name in _CELERY_VARIABLES}
        capturing = getattr(logging, "_warnings_showwarning", None) is not None
        try:
            self._context = start_worker(
                self._application.app,
                pool="threads",
                concurrency=_CONCURRENCY,
                perform_ping_check=False,
                shutdown_timeout=_SHUTDOWN,
                queues=self.queues,
            )
            self._context.__enter__()
        except BaseException:
            self._context = None
            self._put_back()
            raise
        finally:
            signals.setup_logging.disconnect(_leave_logging)
            logging.captureWarnings(capturing)  # Celery turns it on: pytest would see no warning any more
            for name, value in environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def stop(self) -> list[str]:
        """Let running tasks end; return what is left behind: a task that did not end in time."""
        context, self._context = self._context, None
        if context is None:
            return []
        try:
            context.__exit__(None, None, None)
        except RuntimeError:
            return [
                f"a worker thread of {self._application.app.main!r} whose task did not end in {_SHUTDOWN:g} s"
            ]
        finally:
            self._put_back()
        return []

    def _put_back(self) -> None:
        from celery import _state

        internals: Any = _state
        internals._tls.current_app, internals.default_app = self._before


def _leave_logging(**_: Any) -> None:
    return None
