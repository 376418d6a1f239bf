"""What `celery -A` loads in a conformance run: the user's app, on the stack's broker, with our tasks beside its own.

The app's own instrumentation does the tracing; nothing of Handrail's is switched on here. Only settings without
which the probes would not arrive are changed: the broker, what it needs (TLS, transport options), JSON as one more
accepted content type.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

from celery import Celery
from celery.signals import celeryd_after_setup

from handrail_harness.conformance.tasks import register
from handrail_harness.errors import EagerModeRefused
from handrail_harness.loading import NotLoaded, import_module
from handrail_harness.testing.applications import Application, find_application
from handrail_propagation.errors import HandrailError

APP_VARIABLE: Final = "HANDRAIL_CONFORMANCE_APP"
"""`module:attribute` of the app under test."""
QUEUES_VARIABLE: Final = "HANDRAIL_CONFORMANCE_QUEUES"
"""Set where the worker shall take messages of the app's own queues as well."""


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
    if os.environ.get(QUEUES_VARIABLE):
        own = application.queues()

        @celeryd_after_setup.connect(weak=False)
        def take_own_queues(**_: Any) -> None:
            queues: Any = app.amqp.queues
            for queue in own:
                queues.select_add(queue)

    return app


if APP_VARIABLE in os.environ:
    try:
        app = _load_from_environment()
    except HandrailError as error:
        sys.stderr.write(f"handrail: {error}\n")
        raise SystemExit(2) from None
