"""Whom to believe: the policy's grammar, its words, and which queue it asks about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from celery import Celery

from handrail_propagation import carrier, instrument, telemetry, uninstrument
from handrail_propagation.errors import ConfigurationError
from handrail_propagation.trust import Trust, TrustPolicy, noting_queue, taken_from


@pytest.mark.parametrize(
    ("text", "default", "queues"),
    [
        ("restart", "restart", {}),
        ("DROP", "drop", {}),
        ("orders=continue", "continue", {"orders": "continue"}),
        ("restart, orders=continue,partners = drop", "restart", {"orders": "continue", "partners": "drop"}),
        ("*=drop,a=b=continue", "drop", {"a=b": "continue"}),
    ],
)
def test_grammar(text: str, default: Trust, queues: Mapping[str, Trust]) -> None:
    """One word for all queues, and words for queues by name."""
    assert TrustPolicy.parse("HANDRAIL_TRUST", text) == TrustPolicy(default, queues)


@pytest.mark.parametrize("text", ["blindly", "orders=maybe", "=drop", "drop,restart", "a=drop,a=drop", "a="])
def test_unusable_policies(text: str) -> None:
    """What is no word, has no queue or says two things of one is refused, with the variable's name."""
    with pytest.raises(ConfigurationError, match="HANDRAIL_TRUST"):
        TrustPolicy.parse("HANDRAIL_TRUST", text)


def test_unknown_queues_get_the_least() -> None:
    """Where the queue is not known, a policy by queue gives what its least trusted queue gets."""
    policy = TrustPolicy.of_value({"*": "continue", "partners": "restart"})
    assert (policy.of("partners"), policy.of("orders"), policy.of(None)) == ("restart", "continue", "restart")
    assert TrustPolicy().of(None) == "continue"


def test_policies_of_apps() -> None:
    """An app's own policy goes before the process's, which goes before the variable's default."""
    strict, other = (Celery(name, set_as_current=False) for name in ("strict", "other"))
    try:
        instrument(strict, trust={"*": "drop", "inner": "continue"})
        instrument(other)
        instrument(trust="restart")
        assert [telemetry.trust_of(strict, queue) for queue in ("inner", "outer")] == ["continue", "drop"]
        assert telemetry.trust_of(other, "inner") == "restart"
        assert telemetry.trust_of(None, "inner") == "restart"
        assert carrier.extract({}).trust == "restart"
        wrong: Any = "blindly"
        with pytest.raises(ConfigurationError, match="blindly"):
            instrument(strict, trust=wrong)
    finally:
        uninstrument(strict)
        other.close()
        strict.close()


def test_the_queue_is_that_of_the_consumer() -> None:
    """While a callback has a message, the queue is known, whatever the message says; afterwards it is not."""

    class Queue:
        name = "real"

    seen: list[Any] = []
    callbacks: list[Any] = []

    def consume(queue: Any, tag: str, callback: Any) -> None:
        callbacks.append(callback)

    noting_queue(consume, lambda: True)(Queue(), "tag", lambda message: seen.append((message, taken_from())))
    (callback,) = callbacks
    callback("message")
    assert (seen, taken_from()) == ([("message", "real")], None)
