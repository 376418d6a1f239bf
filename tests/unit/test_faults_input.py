"""Verbs of `Faults` that are called in a way that could never take effect: refused when they are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from handrail_harness.errors import FaultDidNotBite, StackError
from handrail_harness.faults import Faults


class NoStack:
    """Exports nothing, as tier `thread`."""

    broker = None

    def __init__(self, **variables: str) -> None:
        self._variables = variables

    def environ(self) -> dict[str, str]:
        return self._variables


@pytest.fixture
def faults() -> Iterator[Faults]:
    with Faults(NoStack(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")) as injected:
        yield injected


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda faults: faults.drop_header(" "), "drop_header\\(\\) needs the name of a header"),
        (lambda faults: faults.garble_header(times=-1), "0 for all"),
        (lambda faults: faults.lose_ack(times=-1), "0 for all"),
        (lambda faults: faults.refuse_exports(times=-1), "0 for all"),
        (lambda faults: faults.delay_exports(-1), "how many seconds"),
        (lambda faults: faults.delay_exports(float("nan")), "how many seconds"),
        (lambda faults: faults.reject_spans(0), "1 or more"),
        (lambda faults: faults.offset_clock("ops:app", [], seconds=float("nan")), "how many seconds"),
    ],
)
def test_what_cannot_bite_is_refused(faults: Faults, call: Callable[[Faults], Any], told: str) -> None:
    """The error is of the call, names what is wrong, and nothing is injected."""
    with pytest.raises(ValueError, match=told):
        call(faults)
    assert faults.injected == []


def test_exports_of_a_stack_without_any() -> None:
    """Where spans stay in memory there is no export to break, and the tier to use is named."""
    with Faults(NoStack()) as faults:
        for call in (faults.swallow_exports, lambda: faults.worker("ops:app")):
            with pytest.raises(StackError, match="--handrail-tier=process"):
                call()


def test_what_did_not_bite_is_told_with_what_to_look_at() -> None:
    """The advice is about messages or exports, whichever the fault was about."""
    for verb, told in (
        (lambda faults: faults.drop_header(), "compare its task and queue"),
        (lambda faults: faults.refuse_exports(), "has exported spans meanwhile"),
    ):
        faults = Faults(NoStack(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1"))
        verb(faults)
        with pytest.raises(FaultDidNotBite, match=told):
            faults.close()
