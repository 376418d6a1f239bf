"""Readable copies of a task's arguments, which Celery puts into headers and monitoring events: not with us."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

from celery.app.amqp import AMQP

# Celery's type stubs leave out how messages are made
_amqp: Any = AMQP
_COPIES = ("argsrepr", "kwargsrepr")


def blank(message: Any) -> None:
    """Take the copies out of a message, whoever has put them in."""
    headers = message.headers
    if headers.get("argsrepr"):
        headers["argsrepr"] = ""
    if headers.get("kwargsrepr"):
        headers["kwargsrepr"] = ""
    if message.sent_event:
        message.sent_event.update(args="", kwargs="")


def stop_rendering() -> Callable[[], None]:
    """Let Celery make no copies that `blank` would only take out; return what lets it make them again.

    They cost more than a whole `send` span. Celery renders where it is given `None`, its default; `""` is a copy that
    somebody has made. The default is changed, and no function wrapped, so that apps which exist already do the same.
    """
    function = _amqp.as_task_v2
    before = function.__defaults__
    function.__defaults__ = tuple(
        "" if parameter.name in _COPIES and parameter.default is None else parameter.default
        for parameter in signature(function).parameters.values()
        if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD and parameter.default is not Parameter.empty
    )

    def render_again() -> None:
        function.__defaults__ = before

    return render_again
