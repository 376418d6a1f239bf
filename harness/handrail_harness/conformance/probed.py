"""What `celery -A` loads in a conformance run: the user's app, on the stack's broker, with our tasks beside its own.

The app's own instrumentation does the tracing; nothing of Handrail's is switched on here. Only settings without
which the probes would not arrive are changed: the broker, what it needs (TLS, transport options), JSON as one more
accepted content type.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NoReturn

from celery import Celery
from celery.signals import celeryd_after_setup

from handrail_harness.conformance.tasks import register
from handrail_harness.errors import EagerModeRefused
from handrail_harness.loading import NotLoaded, import_module
from handrail_harness.testing.applications import Application, find_application
from handrail_propagation.errors import HandrailError

APP_VARIABLE: Final = "HANDRAIL_CONFORMANCE_APP"
"""`module:attribute` of the app under test."""
TASKS_VARIABLE: Final = "HANDRAIL_CONFORMANCE_TASKS"
"""The app's own tasks that are going to be sent, by comma; with some, the worker reads the app's own queues as well."""
_SHOWN: Final = 5


def load(name: str, folder: Path) -> Application:
    """Import the app that `module:attribute` names; an `Agents` there means its app.

    Raises `NotLoaded` or `EagerModeRefused` in one line.
    """
    from handrail_agents import Agents

    module_name, _, attribute = name.partition(":")
    value = getattr(import_module(module_name, folder), attribute or "app", None)
    if isinstance(value, Agents):
        value = value.app
    if value is None:
        raise NotLoaded(f"{module_name} has no {attribute or 'app'!r}; write MODULE:APP, such as tasks:app")
    if not isinstance(value, Celery):
        raise NotLoaded(f"{name} is a {type(value).__name__}, not a Celery app")
    if value.conf.task_always_eager:
        raise EagerModeRefused
    return find_application(value, folder)


def prepare(application: Application, broker_url: str) -> Celery:
    """Point the app at a broker, add the probes; return it."""
    app = application.app
    conf: Any = app.conf
    conf.broker_use_ssl = False
    conf.broker_transport_options = {}
    conf.task_create_missing_queues = True
    conf.accept_content = list({*conf.accept_content, "json"})
    application.point_at(broker_url, broker_url)
    register(app)
    return app


def _load_from_environment() -> Celery:
    application = load(os.environ[APP_VARIABLE], Path.cwd())
    app = prepare(application, os.environ["CELERY_BROKER_URL"])
    if wanted := os.environ.get(TASKS_VARIABLE):
        own = application.queues()

        # By then Celery has imported every module that has tasks of the app.
        @celeryd_after_setup.connect(weak=False)
        def take_own_queues(**_: Any) -> None:
            try:
                require_tasks(app, wanted.split(","))
            except NotLoaded as error:
                _give_up(error)
            queues: Any = app.amqp.queues
            for queue in own:
                queues.select_add(queue)

    return app


def require_tasks(app: Celery, wanted: Iterable[str]) -> None:
    """Raise `NotLoaded` for the first name that is not that of a task of the app."""
    known = [name for name in app.tasks if not name.startswith(("celery.", "handrail.conformance."))]
    for name in wanted:
        if name not in app.tasks:
            near = difflib.get_close_matches(name, known, n=1)
            hint = (
                f"did you mean {near[0]}?"
                if near
                else f"it has {', '.join(sorted(known)[:_SHOWN]) or 'none'}"
            )
            raise NotLoaded(f"the app has no task {name!r}; {hint}")


def _give_up(error: HandrailError) -> NoReturn:
    sys.stderr.write(f"handrail: {error}\n")
    sys.stderr.flush()
    raise SystemExit(2) from None


if APP_VARIABLE in os.environ:
    try:
        app = _load_from_environment()
    except HandrailError as error:
        _give_up(error)
