"""Celery makes no readable copies of arguments while it is instrumented, and makes them again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from handrail_propagation import instrument, uninstrument
from handrail_propagation.arguments import blank


class Argument:
    """Says when somebody renders it."""

    def __init__(self) -> None:
        self.rendered = 0

    def __repr__(self) -> str:
        self.rendered += 1
        return "secret"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """An app that exports nothing, and had its messages' maker before it was instrumented."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    app = Celery("arguments", broker="memory://")
    _message(app)
    yield app
    uninstrument()


def _message(app: Celery, *args: Any, **options: Any) -> Any:
    amqp: Any = app.amqp
    return amqp.create_task_message("an-id", "a.task", args, {}, create_sent_event=True, **options)


def test_arguments_are_not_rendered(app: Celery) -> None:
    """Nobody asks an argument for its text, and headers and event are blank; after `uninstrument` Celery renders."""
    instrument(app)
    argument = Argument()
    message = _message(app, argument)
    assert argument.rendered == 0
    assert (message.headers["argsrepr"], message.headers["kwargsrepr"]) == ("", "")
    assert (message.sent_event["args"], message.sent_event["kwargs"]) == ("", "")
    uninstrument()
    assert "secret" in _message(app, argument).headers["argsrepr"]


def test_copies_of_the_application_are_blanked(app: Celery) -> None:
    """What the application renders itself is taken out of the message before it is sent."""
    instrument(app)
    message = _message(app, 1, argsrepr="(secret,)", kwargsrepr="{}")
    blank(message)
    assert (message.headers["argsrepr"], message.headers["kwargsrepr"]) == ("", "")
    assert "secret" not in str(message.sent_event)
