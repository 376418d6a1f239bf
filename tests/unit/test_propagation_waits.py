"""When a message was sent, as a span says it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail_propagation.processspan import _utc_text


@given(st.floats(min_value=1e-9, max_value=2.0**33 - 1) | st.integers(1, 2**33 - 1).map(float))
@pytest.mark.parametrize("again", [False, True])
def test_a_time_is_written_as_datetime_writes_it(again: bool, at: float) -> None:
    """To the microsecond, rounded as `datetime` rounds, the first time in its second and later."""
    if again:
        _utc_text(at)
    assert _utc_text(at) == datetime.fromtimestamp(at, UTC).isoformat()


@pytest.mark.parametrize("fraction", [0.0, 4e-7, 5e-7, 15e-7, 0.999999, 0.9999994, 0.9999996])
def test_the_ends_of_a_second_are_written_as_datetime_writes_them(fraction: float) -> None:
    """A time without microseconds has none, and one that rounds up to the next second is in that."""
    for second in (0, 1, 1_764_043_200):
        at = second + fraction
        assert _utc_text(at) == datetime.fromtimestamp(at, UTC).isoformat()
